"""An aiohttp application as a server on this machine, for the fakes of other people's services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from aiohttp import web

Served = TypeVar("Served")


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[str]:
    """Serve on a port that the system chooses; gives its address, such as ``http://127.0.0.1:40123``."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """What a server gives, for tests that have no event loop of their own. It ends with all that it was still answering: cleaning a
    runner up cancels its handlers and does not wait for them."""
    started, stop = threading.Event(), asyncio.Event()
    loop: asyncio.AbstractEventLoop
    served: Served

    async def serve() -> None:
        nonlocal loop, served
        loop = asyncio.get_running_loop()
        async with server as served:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="a server of the tests")
    thread.start()
    assert started.wait(30)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
