"""Routes, and an app that tests and benchmarks can start with an engine of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import web

from vllama_agent import auth
from vllama_agent.apis.errors import NotHere
from vllama_agent.cors import Origins
from vllama_agent.drain import Drain
from vllama_agent.engines.base import Engine
from vllama_agent.limits import Admission
from vllama_agent.pool import Pool, Store
from vllama_agent.server import blob_routes, create_routes, gate, manage_routes, ollama_routes, openai_routes, probes, pull_routes
from vllama_agent.server.service import Service
from vllama_agent.store import pull
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

LATER = {
    "POST": (
        "/api/embed /api/embeddings "
        "/v1/embeddings /v1/responses /v1/messages /v1/messages/count_tokens /v1/rerank /v1/audio/transcriptions /tokenize /detokenize"
    ),
}
NEVER = {
    "POST": "/api/push /api/me /api/signout /api/experimental/web_search /api/experimental/web_fetch",
    "DELETE": "/api/user/keys/{key}",
}
BACKLOG = 1024
"""Connections that may wait to be accepted: a burst of clients must not see a refused connection."""
GOODBYE_SECONDS = 5.0
"""Seconds for the last bytes of ended streams."""
IDLE_SECONDS = 75.0
"""Seconds a connection may wait for its next request: longer than most balancers wait, so that they close first."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
    app.add_routes(_routes())
    return app


def _routes() -> list[web.RouteDef]:
    get, post = web.get, web.post
    found = [
        get("/", ollama_routes.root),
        get("/api/version", ollama_routes.version),
        get("/api/tags", ollama_routes.tags),
        get("/api/ps", ollama_routes.ps),
        get("/api/status", ollama_routes.cloud_status),
        get("/api/experimental/model-recommendations", ollama_routes.recommendations),
        post("/api/show", ollama_routes.show_model),
        post("/api/create", create_routes.create),
        post("/api/pull", pull_routes.pull),
        post("/api/copy", manage_routes.copy),
        web.delete("/api/delete", manage_routes.delete),
        web.head("/api/blobs/{digest}", blob_routes.exists),
        post("/api/blobs/{digest}", blob_routes.store),
        post("/api/generate", ollama_routes.generate),
        post("/api/chat", ollama_routes.chat),
        get("/v1/models", openai_routes.models),
        get("/v1/models/{id:.+}", openai_routes.model),
        post("/v1/chat/completions", openai_routes.chat),
        post("/v1/completions", openai_routes.completions),
        get("/livez", probes.livez),
        get("/readyz", probes.readyz),
        get("/startupz", probes.startupz),
        get("/metrics", probes.metrics),
        get("/load", probes.load),
    ]
    for method, paths in LATER.items():
        found += [web.route(method, path, _absent("{path} is not yet supported by this version of vllama")) for path in paths.split()]
    for method, paths in NEVER.items():
        sentence = "{path} belongs to ollama.com's accounts and registry, and is not supported by vllama"
        found += [web.route(method, path, _absent(sentence)) for path in paths.split()]
    return found


def _absent(sentence: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        resource = request.match_info.route.resource
        raise NotHere(sentence.format(path=resource.canonical if resource is not None else "this route"))

    return answer


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
        handler_cancellation=True,
        handle_signals=False,
        shutdown_timeout=GOODBYE_SECONDS,
        keepalive_timeout=IDLE_SECONDS,
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
