"""Probes, metrics and load signals: what machines ask."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from vllama_agent.metrics import CONTENT_TYPE
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.ollama_routes import json_response


async def livez(_: web.Request) -> web.Response:
    """The process answers. A dead engine is restarted by the agent, so it is no reason to kill the agent."""
    return web.Response(text="ok")


async def readyz(request: web.Request) -> web.Response:
    """Requests may be sent: every pinned model gave an answer, no engine is restarting, and nobody said stop."""
    reason = request.app[SERVICE].unready()
    return web.Response(text="ok") if reason is None else web.Response(status=503, text=reason)


async def startupz(request: web.Request) -> web.Response:
    """The first load is over. Later troubles do not undo it."""
    reason = request.app[SERVICE].pool.starting()
    return web.Response(text="ok") if reason is None else web.Response(status=503, text=reason)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' exposition."""
    return web.Response(body=request.app[SERVICE].metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def load(request: web.Request) -> web.Response:
    """The signals of X-Vllama-Load, and the same per model."""
    service = request.app[SERVICE]
    models = {
        name: {
            "running": s.running,
            "waiting": s.waiting,
            "kv_free": s.kv_cells_total - s.kv_cells_used + s.kv_cells_cached,
            "kv_total": s.kv_cells_total,
        }
        for name, s in service.engine_stats()
    }
    return json_response(asdict(service.load()) | {"models": models})
