"""An app that tests and benchmarks can start with an engine of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from vllama_agent import auth
from vllama_agent.cors import Origins
from vllama_agent.drain import Drain
from vllama_agent.limits import Admission
from vllama_agent.pool import MakeEngine, Pool, Store, Surroundings, make_pool
from vllama_agent.server import gate, pull_routes, reloading, routes, tls
from vllama_agent.server.first_use import FirstUse
from vllama_agent.server.runner import Runner
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


def make_service(
    config: AgentConfig,
    *,
    store: Store,
    make_engine: MakeEngine,
    sources: Sources | None = None,
    surroundings: Surroundings | None = None,
    pool: Pool | None = None,
) -> Service:
    """The agent's parts. Nothing runs yet.

    :param sources: where models are fetched from; None = nowhere.
    :param surroundings: what sizing sees of the machine; None: its memory, and no accelerators.
    :param pool: one that has begun to load already; None: a new one.
    :raises ConfigError: the keys or the certificate cannot be read, or the network would find an open server.
    """
    find = None if sources is None else partial(pull.find, sources)
    service = Service(
        config=config,
        pool=pool or make_pool(config, store=store, make_engine=make_engine, find=find, surroundings=surroundings or Surroundings()),
        keys=auth.keys_of(config),
        origins=Origins(config.origins),
        admission=Admission(per_model=config.max_queue, total=config.max_queue_total),
        drain=Drain(),
        library=Library(Layers(config.home, config.stores)),
        sources=sources,
        certificate=tls.certificate_of(config),
    )
    if config.auto_pull and not config.managed:
        service.first_use = FirstUse(partial(pull_routes.fetch, service))
    return service


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


async def _name_models(service: Service) -> None:
    """Those of the command line and of the configuration file. Their loads go on behind it."""
    config = service.config
    await service.pool.fetch_and_pin(config.models)
    if config.config_file is not None:
        await service.pool.declare((await reloading.read(config.config_file)).models, first=True)
    await service.pool.preload(config.preload)


@asynccontextmanager
async def running(service: Service, *, host: str, port: int) -> AsyncIterator[tuple[web.AppRunner, web.TCPSite]]:
    """The app on a socket; on the way out open answers get a moment for their last bytes, then engines are stopped.

    :raises ConfigError: the address cannot be bound.
    :raises ModelNotFound: a model to pin is not there, nor anywhere that models are fetched from.
    """
    runner = Runner(
        make_app(service),
        handle_signals=False,
        shutdown_timeout=GOODBYE_SECONDS,
        keepalive_timeout=service.config.idle_timeout,
    )
    await runner.setup()
    try:
        context = None if service.certificate is None else service.certificate.context()
        site = web.TCPSite(runner, host, port, backlog=BACKLOG, ssl_context=context)
        with service.pool.opening():
            await _bind(site, host, port)
            await _name_models(service)
        yield runner, site
    finally:
        await runner.cleanup()
        if service.first_use is not None:
            await service.first_use.close()
        await asyncio.shield(service.pool.close())
