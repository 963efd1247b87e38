"""What happens around every route: who may call, how errors look, which headers a reply has, and the access log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from vllama_agent import auth, cors
from vllama_agent.accounts import Account
from vllama_agent.apis import errors, refusals
from vllama_agent.drain import Phase
from vllama_agent.server.delivery import deliver
from vllama_agent.server.service import Service
from vllama_core.errors import VllamaError

log = logging.getLogger(__name__)
access = logging.getLogger("vllama.access")

SERVICE = web.AppKey("service", Service)
MODEL = web.RequestKey("model", str)
"""For the access log: the model that a request names, once it is known to exist."""
ACCOUNT = web.RequestKey("account", Account)
"""Whose key a request carries; absent where no key is needed."""
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
    told = refusals.refusal(path, error)
    return web.Response(status=told.status, body=told.body, headers=told.headers)


def _browser_rules(service: Service, request: web.Request) -> web.Response | None:
    """Host check, origin check and preflight."""
    answer = cors.answer(request.method, request.headers, service.origins, loopback=service.config.loopback)
    return None if answer is None else web.Response(status=answer.status, headers=answer.headers)


def _check_key(service: Service, request: web.Request) -> None:
    if service.keys is None or request.path in PROBES:
        return
    key = auth.presented_key(request.headers)
    if key is None:
        raise errors.Unauthorized("an API key is needed: send it as 'Authorization: Bearer KEY'")
    known = service.keys.find(key)
    if known is None:
        raise errors.Unauthorized("the API key is not known here")
    request[ACCOUNT] = service.accounts.of(known)


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
        headers.update(cors.reply_headers(origin))
    if service.drain.phase is not Phase.SERVING:
        response.force_close()
        headers["Connection"] = "close"  # aiohttp wrote its own choice before this hook


def _log(request: web.Request, status: int, seconds: float) -> None:
    """Route, not path: a path may hold anything. Probes are counted, and logged only when they fail or on debug."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    request.app[SERVICE].metrics.request(route, status, seconds)
    account = request.get(ACCOUNT)
    if account is not None:
        account.requests[status] += 1
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
            "key": None if account is None else account.name,
        }
        access.log(level, "%s %s %d", request.method, route, status, extra=extra)
