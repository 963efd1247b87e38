"""The agent's life: bind, serve, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from aiohttp import web

from vllama_agent import logs
from vllama_agent.drain import Drain
from vllama_agent.engines import process
from vllama_agent.pool import MakeEngine, Pool, Store, Surroundings
from vllama_agent.server import reloading
from vllama_agent.server.app import make_service, running
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig

log = logging.getLogger(__name__)

TERMINAL_SECONDS = 5.0
"""Seconds that answers may take after Ctrl-C: somebody is waiting for the prompt."""


def run(
    config: AgentConfig,
    *,
    store: Store,
    make_engine: MakeEngine,
    sources: Sources | None = None,
    surroundings: Surroundings | None = None,
) -> int:
    """Serve any store by any engine, on uvloop and with logs set up; the exit status. Errors as `serve`."""
    logs.configure(config.log_format, config.log_level)
    process.yield_to_children()
    # Nearly everything that is here by now was imported and stays. Walking it takes a collection 9 ms, in which every stream stands still.
    gc.collect()
    gc.freeze()
    return uvloop.run(serve(config, store=store, make_engine=make_engine, sources=sources, surroundings=surroundings))


async def serve(
    config: AgentConfig,
    *,
    store: Store,
    make_engine: MakeEngine,
    sources: Sources | None = None,
    surroundings: Surroundings | None = None,
    pool: Pool | None = None,
) -> int:
    """As `run`, in a loop that is there. See `make_service` for what the parameters are.

    :raises ConfigError: the address is taken, the keys or the certificate cannot be read, or the network would find an open server.
    :raises ModelNotFound: a model to pin is not there.
    """
    service = make_service(config, store=store, make_engine=make_engine, sources=sources, surroundings=surroundings, pool=pool)
    signals = _Signals(service.drain)
    async with (
        signals.during_the_start(),
        running(service, host=config.host, port=config.port) as (runner, site),
        reloading.followed(service),
    ):
        signals.up()
        for address in runner.addresses:
            log.info("listening on %s://%s:%d", service.scheme, *address[:2])
        first = await signals.get()
        await _leave(config, service.drain, site, runner, first)
    log.info("stopped")
    return 0


async def _leave(config: AgentConfig, drain: Drain, site: web.TCPSite, runner: web.AppRunner, received: signal.Signals) -> None:
    """SIGTERM comes from a supervisor that has time, SIGINT from a person who has none."""
    terminal = received is signal.SIGINT
    seconds = TERMINAL_SECONDS if terminal else config.drain_seconds
    log.info("%s: stopping", received.name, extra={"running": drain.running, "seconds": seconds})
    refuse = asyncio.Event()

    async def close_door() -> None:
        await refuse.wait()
        await site.stop()
        if runner.server is not None:
            runner.server.pre_shutdown()
        log.info("no longer accepting", extra={"running": drain.running})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(close_door(), name="close the door")
        tasks.create_task(drain.finish(delay=0.0 if terminal else config.drain_delay, seconds=seconds, refuse=refuse), name="drain")


class _Signals:
    """One before the server is up ends its start, which may wait for somebody's answer; else the first begins the end, and any further
    one hurries it."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._received: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._starting: asyncio.Task[object] | None = None
        self._count = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._note, number)

    @asynccontextmanager
    async def during_the_start(self) -> AsyncIterator[None]:
        """Until `up`, a signal ends what is inside."""
        self._starting = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if self._starting is None or not self._count:
                raise

    def up(self) -> None:
        """The start is over."""
        self._starting = None

    async def get(self) -> signal.Signals:
        """The first."""
        return await self._received.get()

    def _note(self, number: signal.Signals) -> None:
        self._count += 1
        if self._starting is not None:
            log.info("%s: the start is given up", number.name)
            self._starting.cancel()
        elif self._count > 1:
            self._drain.hurry()
        else:
            self._received.put_nowait(number)
