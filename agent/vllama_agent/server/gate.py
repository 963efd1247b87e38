"""What happens around every route: who may call, how errors look, which headers a reply has, and the access log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from vllama_agent import auth, cors
from vllama_agent.apis import anthropic, errors, ollama_replies, openai_replies
from vllama_agent.drain import Phase
from vllama_agent.server.delivery import deliver
from vllama_agent.server.service import Service
from vllama_core.errors import VllamaError

log = logging.getLogger(__name__)
access = logging.getLogger("vllama.access")

SERVICE = web.AppKey("service", Service)
MODEL = web.RequestKey("model", str)
"""For the access log: the model that a request names, once it is known to exist."""
PROBES = frozenset({"/livez", "/readyz", "/startupz"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one middleware."""
    started = time.perf_counter()
    status = 499
    try:
        response = await _guarded(request, handler)
        await deliver(request, response, write_timeout=request.app[SERVICE].config.write_timeout)
        status = response.status
        return response
    finally:
        _log(request, status, time.perf_counter() - started)


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    service = request.app[SERVICE]
    try:
        refused = _browser_rules(service, request)
        if refused is not None:
            return refused
        _check_key(service, request)
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        limit = service.config.max_body_bytes
        return error_response(
            request.path, errors.TooLarge(f"the request body is larger than {limit} bytes, which is the most this server takes")
        )
    except web.HTTPException as error:
        return _http_error(request, error)
    except VllamaError as error:
        return error_response(request.path, error)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        log.exception("a request failed for a reason that is ours", extra={"path": request.path})
        return error_response(request.path, error)


def error_response(path: str, error: BaseException) -> web.Response:
    """An error in the shape of the family that the path belongs to."""
    failure = errors.failure(error)
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    if failure.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    headers["Content-Type"] = openai_replies.JSON
    match errors.family_of(path):
        case errors.Family.ANTHROPIC:
            return web.Response(status=anthropic.status(failure), body=anthropic.error(failure), headers=headers)
        case errors.Family.OPENAI:
            return web.Response(status=openai_replies.status(failure), body=openai_replies.error(failure), headers=headers)
        case errors.Family.OLLAMA:
            return web.Response(status=failure.status, body=ollama_replies.error(failure.message), headers=headers)


def _browser_rules(service: Service, request: web.Request) -> web.Response | None:
    """Host check, origin check and preflight."""
    if service.config.loopback and not cors.host_is_local(request.headers.get("Host", "")):
        return web.Response(status=403)
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    if not service.origins.allows(origin) and not _same_origin(request, origin):
        return web.Response(status=403)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        allowed = {"Access-Control-Allow-Methods": cors.ALLOWED_METHODS, "Access-Control-Allow-Headers": cors.ALLOWED_HEADERS}
        return web.Response(status=204, headers=allowed | {"Access-Control-Max-Age": "43200"})
    return None


def _same_origin(request: web.Request, origin: str) -> bool:
    return origin.partition("://")[2] == request.headers.get("Host")


def _check_key(service: Service, request: web.Request) -> None:
    if service.keys is None or request.path in PROBES:
        return
    key = auth.presented_key(request.headers)
    if key is None:
        raise errors.Unauthorized("an API key is needed: send it as 'Authorization: Bearer KEY'")
    if not service.keys.knows(key):
        raise errors.Unauthorized("the API key is not known here")


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals, in Ollama's words."""
    if error.status in (404, 405):
        text = "404 page not found" if error.status == 404 else "405 method not allowed"
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return web.Response(status=error.status, text=text, headers=allow)
    return web.Response(status=error.status, text=error.reason)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every reply, just before its headers go out."""
    service = request.app[SERVICE]
    headers = response.headers
    headers["Server"] = "vllama"
    headers["X-Vllama-Version"] = service.version
    headers["X-Vllama-Load"] = service.load().header()
    origin = request.headers.get("Origin")
    if origin is not None and response.status != 403:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = cors.EXPOSED_HEADERS
        headers["Vary"] = "Origin"
    if service.drain.phase is not Phase.SERVING:
        response.force_close()
        headers["Connection"] = "close"  # aiohttp wrote its own choice before this hook


def _log(request: web.Request, status: int, seconds: float) -> None:
    """Route, not path: a path may hold anything. Probes are counted, and logged only when they fail or on debug."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    request.app[SERVICE].metrics.request(route, status, seconds)
    level = logging.DEBUG if request.path in PROBES and status < 400 else logging.INFO
    if access.isEnabledFor(level):
        model = request.get(MODEL)
        extra = {
            "method": request.method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "client": request.remote,
            "model": model,
        }
        access.log(level, "%s %s %d", request.method, route, status, extra=extra)
