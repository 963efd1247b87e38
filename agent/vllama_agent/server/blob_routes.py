"""Blobs: the bytes that clients send before they create a model of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import StreamReader, web

from vllama_agent.apis import errors, manage
from vllama_agent.server import manage_routes
from vllama_agent.server.gate import SERVICE

BATCH = 4 << 20
"""Bytes that are hashed and written at once, in a thread."""
STALL = 60.0
"""Seconds without a byte after which an upload is given up: its scratch file and its connection are held for nothing."""


async def exists(request: web.Request) -> web.Response:
    """HEAD /api/blobs/{digest}."""
    digest = manage.digest(request.match_info["digest"])
    found = await asyncio.to_thread(request.app[SERVICE].library.blob, digest)
    return web.Response(status=200 if found is not None else 404)


async def store(request: web.Request) -> web.Response:
    """POST /api/blobs/{digest}: 201 = stored, 200 = it was here."""
    service = request.app[SERVICE]
    manage_routes.check_writable(service)
    digest = manage.digest(request.match_info["digest"])
    with service.drain.working():
        if await asyncio.to_thread(service.library.blob, digest) is not None:
            return web.Response(status=200)
        upload = await asyncio.to_thread(service.library.upload, digest, size=request.content_length)
        try:
            async for data in _batches(request.content):
                await asyncio.to_thread(upload.write, data)
            await asyncio.to_thread(upload.publish)
        finally:
            upload.close()
    return web.Response(status=201)


async def _batches(content: StreamReader) -> AsyncIterator[bytes]:
    held = bytearray()
    while True:
        try:
            async with asyncio.timeout(STALL):
                data = await content.readany()
        except TimeoutError:
            raise errors.TooSlow(f"no byte of the blob arrived within {STALL:g} seconds") from None
        held += data
        if held and (not data or len(held) >= BATCH):
            yield bytes(held)
            held.clear()
        if not data:
            return
