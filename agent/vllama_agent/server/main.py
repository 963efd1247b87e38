"""The agent's life: bind, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

import uvloop
from aiohttp import web

from vllama_agent import logs
from vllama_agent.drain import Drain
from vllama_agent.engines.base import Engine
from vllama_agent.pool import Store
from vllama_agent.server.app import make_service, running
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig

log = logging.getLogger(__name__)

TERMINAL_SECONDS = 5.0
"""Seconds that answers may take after Ctrl-C: somebody is waiting for the prompt."""


def run(config: AgentConfig, *, store: Store, make_engine: Callable[[Any], Engine], sources: Sources | None = None) -> int:
    """Serve any store by any engine, on uvloop and with logs set up; the exit status. Errors as `serve`."""
    logs.configure(config.log_format, config.log_level)
    return uvloop.run(serve(config, store=store, make_engine=make_engine, sources=sources))


async def serve(config: AgentConfig, *, store: Store, make_engine: Callable[[Any], Engine], sources: Sources | None = None) -> int:
    """As `run`, in a loop that is there.

    :raises ConfigError: the address is taken, the keys cannot be read, or the network would find an open server.
    :raises ModelNotFound: a model to pin is not there.
    """
    service = make_service(config, store=store, make_engine=make_engine, sources=sources)
    signals = _signals(service.drain)
    async with running(service, host=config.host, port=config.port) as (runner, site):
        for address in runner.addresses:
            log.info("listening on http://%s:%d", *address[:2])
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


def _signals(drain: Drain) -> asyncio.Queue[signal.Signals]:
    """The first signal begins the end, any further one hurries it."""
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    count = 0

    def note(number: signal.Signals) -> None:
        nonlocal count
        count += 1
        if count > 1:
            drain.hurry()
        else:
            received.put_nowait(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, note, number)
    return received
