"""Where kopf calls us: its watches, its way of starting and ending. The only module that imports it.

Nothing but `on.event`: kopf's other handlers, timers and daemons put a finalizer on each LLMServe, and one that nobody removes while the
operator is away would keep it from being deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from vllama_core.errors import ConfigError
from vllama_operator import app, resources
from vllama_operator.app import Operator
from vllama_operator.cluster import Endpoint
from vllama_operator.settings import Settings

TOKEN_SECONDS = 60.0
"""After which a token is read again from its file: the kubelet replaces a service account's within the hour."""
LISTED = 50
"""Objects per answer when a watch begins. The watches of all kinds begin at once, and hold what they are sent until it is handled."""
IDLE_SECONDS = 0.1
"""How long kopf keeps a task, and in it the last state of an object as it was sent, for a further event of the same object. With its five
seconds a thousand LLMServes took 300 MB while the operator started."""
log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    async with app.running(settings, endpoint()) as operator:
        log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
        await kopf.operator(
            registry=registry(operator),
            settings=_settings(),
            # else kopf asks for the user's name, and the image's user has none
            identity=settings.identity,  # type: ignore[arg-type]  # its own type of text is no part of its API
            standalone=True,  # the lease does what kopf's peering would, which freezes two equals
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz" if settings.health_port else None,
        )


def endpoint() -> Endpoint:
    """By the pod's service account, else by the file that KUBECONFIG names.

    :raises ConfigError: there is neither.
    """
    clock = asyncio.get_running_loop().time
    info, read_at = _login(), clock()
    tls, server = info.as_ssl_context(), info.server

    def headers() -> Mapping[str, str]:
        nonlocal info, read_at
        if info.token and clock() - read_at > TOKEN_SECONDS:
            info, read_at = _login(), clock()
        return info.as_http_headers()

    return Endpoint(server=server, tls=tls, headers=headers)


def _login() -> kopf.ConnectionInfo:
    found = kopf.login_with_service_account(settings=_settings()) or kopf.login_with_kubeconfig(settings=_settings())
    if found is None:
        raise ConfigError("there is no Kubernetes API to talk to: this is no pod with a service account, and KUBECONFIG names no file")
    return found


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """Handlers that tell an operator what its watches show."""
    made = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return _login()

    kopf.on.login(registry=made)(login)
    for kind in resources.WATCHED:
        group, plural = resources.PATHS[kind]
        *_, version = group.split("/")
        api = group.split("/")[2] if group.startswith("/apis/") else ""
        kopf.on.event(api, version, plural, registry=made, id=f"seen-{plural}")(_seen(operator, kind))
    return made


def _seen(operator: Operator, kind: str) -> Callable[..., Awaitable[None]]:
    async def seen(event: dict[str, Any], **_: Any) -> None:
        operator.seen(kind, dict(event["object"]), gone=event["type"] == "DELETED")

    return seen


def _settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    made.posting.enabled = False  # events are ours to write, on transitions only
    made.scanning.disabled = True  # else kopf wants to list all namespaces and definitions
    made.networking.request_timeout = 30.0
    made.watching.chunk_size = LISTED
    made.queueing.idle_timeout = IDLE_SECONDS
    for kind in resources.WATCHED:
        chosen = resources.selector(kind)
        if chosen is not None:
            made.watching.label_selectors[resources.PATHS[kind][1]] = chosen
    return made
