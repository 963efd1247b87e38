"""`vllama.yaml` while the agent runs: read at start, and again at every SIGHUP, and the certificate with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vllama_agent import serve_file
from vllama_agent.drain import Phase
from vllama_agent.server.service import Service
from vllama_core.errors import VllamaError
from vllama_core.serve_spec import ServeFile

log = logging.getLogger(__name__)


async def read(path: Path) -> ServeFile:
    """In a thread: it may lie on a network file system.

    :raises ConfigError: it cannot be read, or says what cannot be.
    """
    found = await asyncio.to_thread(serve_file.load, path)
    for note in found.notes:
        log.warning("%s, %s", path, note)
    return found


@asynccontextmanager
async def followed(service: Service) -> AsyncIterator[None]:
    """Meanwhile a SIGHUP has the files read again. Without any the signal keeps its meaning: the terminal is gone."""
    if service.config.config_file is None and service.certificate is None:
        yield
        return
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    follower = asyncio.create_task(_follow(service, asked), name="follow the configuration")
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower


async def _follow(service: Service, asked: asyncio.Event) -> None:
    """Until the agent ends. Signals that come while one is dealt with are one more."""
    while True:
        await asked.wait()
        asked.clear()
        if service.drain.phase is not Phase.SERVING:
            continue
        if service.certificate is not None and service.certificate.reread():
            log.info("the certificate was read again")
        if service.config.config_file is not None:
            await reload(service, service.config.config_file)


async def reload(service: Service, path: Path) -> None:
    """Go over to what the file says now; what is wrong in it changes nothing and is told in the log."""
    try:
        changes = await service.pool.declare((await read(path)).models)
    except VllamaError as error:
        log.error("the configuration was not reloaded, everything stays as it was: %s", error)
    except Exception:
        log.exception("the configuration was not reloaded for a reason that is ours")
    else:
        log.info("the configuration was reloaded", extra={"removed": len(changes.removed), "added": len(changes.added)})
