"""Long work on the store, told line by line while it goes on. A client that leaves ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson
from aiohttp import web

from vllama_agent.apis import ollama_replies
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.sender import Sender
from vllama_agent.store.events import Event, OnEvent, Status, as_fields
from vllama_core.errors import RequestCancelled

SUCCESS = orjson.dumps({"status": "success"}) + b"\n"


async def respond(request: web.Request, work: Callable[[OnEvent], Awaitable[None]], *, stream: bool) -> web.StreamResponse:
    """Do the work; with `stream` its events are lines of the reply. An error before the first event has a status of its own."""
    if not stream:
        await work(lambda _event: None)
        return web.Response(body=SUCCESS.rstrip(b"\n"), headers={"Content-Type": "application/json"})
    sender = Sender(request, ollama_replies.NDJSON, {}, write_timeout=request.app[SERVICE].config.write_timeout)
    try:
        await _told(work, sender)
        await sender.send(SUCCESS)
    except Exception as error:
        if not sender.started:
            raise
        with suppress(RequestCancelled):
            if not isinstance(error, RequestCancelled):
                await sender.send(ollama_replies.error(answers.told_mid_stream(error, request.path).message) + b"\n")
    return sender.response


async def _told(work: Callable[[OnEvent], Awaitable[None]], sender: Sender) -> None:
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    async def run() -> None:
        try:
            await work(events.put_nowait)
        finally:
            events.put_nowait(None)

    task, label = asyncio.create_task(run(), name="work on the store"), ""
    try:
        while (event := await events.get()) is not None:
            label = event.text if isinstance(event, Status) else label
            await sender.send(line(event, label))
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def line(event: Event, label: str) -> bytes:
    """An event on the wire.

    :param label: the step that a file's progress belongs to.
    """
    return orjson.dumps(as_fields(event, label)) + b"\n"
