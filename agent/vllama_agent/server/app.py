"""An app that tests and benchmarks can start with an engine of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import http_exceptions, web

from vllama_agent import auth
from vllama_agent.cors import Origins
from vllama_agent.drain import Drain
from vllama_agent.engines.base import Engine
from vllama_agent.limits import Admission
from vllama_agent.pool import Pool, Store
from vllama_agent.server import gate, routes
from vllama_agent.server.service import Service
from vllama_agent.store import pull
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

BACKLOG = 1024
"""Connections that may wait to be accepted: a burst of clients must not see a refused connection."""
GOODBYE_SECONDS = 5.0
"""Seconds for the last bytes of ended streams."""


class _WithoutBytes(logging.Filter):
    """aiohttp reports what is no HTTP with a traceback and the bytes themselves, which may be a key or a prompt: here it is one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (http_exceptions.HttpProcessingError, web.RequestPayloadError)):
            record.msg, record.args, record.exc_info = "a request was no HTTP: %s", (type(error).__name__,), None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


http_log = logging.getLogger("vllama.http")
http_log.addFilter(_WithoutBytes())


def make_service(config: AgentConfig, *, store: Store, make_engine: Callable[[Any], Engine], sources: Sources | None = None) -> Service:
    """The agent's parts. Nothing runs yet.

    :param sources: where models are fetched from; None = nowhere.
    :raises ConfigError: the keys cannot be read, or the network would find an open server.
    """
    return Service(
        config=config,
        pool=Pool(store, make_engine, config, find=None if sources is None else partial(pull.find, sources)),
        keys=auth.keys_of(config),
        origins=Origins(config.origins),
        admission=Admission(per_model=config.max_queue, total=config.max_queue_total),
        drain=Drain(),
        library=Library(Layers(config.home, config.stores)),
        sources=sources,
    )


def make_app(service: Service) -> web.Application:
    """All routes over a service."""
    app = web.Application(middlewares=[gate.gate], client_max_size=service.config.max_body_bytes)
    app[gate.SERVICE] = service
    app.on_response_prepare.append(gate.add_headers)
    app.add_routes(routes.definitions())
    return app


async def _bind(site: web.TCPSite, host: str, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another with --host or --port") from error


@asynccontextmanager
async def running(service: Service, *, host: str, port: int) -> AsyncIterator[tuple[web.AppRunner, web.TCPSite]]:
    """The app on a socket; on the way out open answers get a moment for their last bytes, then engines are stopped.

    :raises ConfigError: the address cannot be bound.
    :raises ModelNotFound: a model to pin is not there, nor anywhere that models are fetched from.
    """
    runner = web.AppRunner(
        make_app(service),
        access_log=None,
        logger=http_log,
        handler_cancellation=True,
        handle_signals=False,
        shutdown_timeout=GOODBYE_SECONDS,
        keepalive_timeout=service.config.idle_timeout,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
        await _bind(site, host, port)
        await service.pool.fetch_and_pin(service.config.models)
        yield runner, site
    finally:
        await runner.cleanup()
        await asyncio.shield(service.pool.close())
