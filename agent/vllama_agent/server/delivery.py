"""Whole replies for readers that do not read. Streams have `sender`."""

from __future__ import annotations

import asyncio

from aiohttp import web

UNREAD_BYTES = 64 * 1024
"""A smaller reply never waits for its reader: a connection's buffer takes it."""


async def deliver(request: web.Request, response: web.StreamResponse, *, write_timeout: float) -> None:
    """Send a reply that is large; others are left to aiohttp, which waits for a reader without a limit.

    :param write_timeout: seconds; a reader that takes no byte for so long (twice as long at its start) loses its connection.
    :raises ConnectionError: it did, or it left.
    """
    transport = request.transport
    if not isinstance(response, web.Response) or response.prepared or not isinstance(response.body, bytes) or transport is None:
        return
    unread = len(response.body)
    if unread <= UNREAD_BYTES:
        return
    await response.prepare(request)
    sending = asyncio.create_task(response.write_eof(), name="send a reply")
    try:
        while not sending.done():
            await asyncio.wait({sending}, timeout=write_timeout)
            left = transport.get_write_buffer_size()
            if not sending.done() and left >= unread:
                transport.abort()
                raise ConnectionResetError("the reader takes nothing")
            unread = left
        await sending
    finally:
        sending.cancel()
