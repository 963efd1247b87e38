"""Where kopf calls us: its watches, its way of starting and ending. The only module that imports it.

Nothing but `on.event`: kopf's other handlers, timers and daemons put a finalizer on each LLMServe, and one that nobody removes while the
operator is away would keep it from being deleted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf
from kopf._cogs.clients.errors import APIError  # neither has a public name
from kopf._cogs.clients.watching import WatchingError

from vllama_core.errors import ConfigError
from vllama_operator import app, resources
from vllama_operator.app import Operator
from vllama_operator.cluster import Endpoint
from vllama_operator.errors import ClusterError
from vllama_operator.settings import Settings

TOKEN_SECONDS = 60.0
"""After which a token is read again from its file: the kubelet replaces a service account's within the hour."""
LISTED = 50
"""Objects per answer when a watch begins. The watches of all kinds begin at once, and hold what they are sent until it is handled."""
IDLE_SECONDS = 0.1
"""How long kopf keeps a task, and in it the last state of an object as it was sent, for a further event of the same object. With its five
seconds a thousand LLMServes took 300 MB while the operator started."""
PASSING = (404, 410, 429)
"""Refusals of a watch that pass, besides 5xx: the definition was removed, too old, too much. Others are a fault of the installation, which
a pod that is restarted again and again shows."""
STOP_SECONDS = 10.0
"""For kopf to end its watches, and twice that for all of it, after which the process is killed."""
ANEW_SECONDS = 5.0
"""Between an end of all watches and their new beginning, which lists everything."""
log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT.

    kopf gives up where one watch is refused for half a minute, is told of an error, or is sent half a line, and never watches a kind that
    is not defined when it begins. All this passes, so all begins anew here: the kubelet would wait longer from one time to the next.
    """
    _hear_signals()
    while (failed := asyncio.run(_run(settings))) is not None:
        _hear_signals()
        log.error("LLMServes cannot be watched, all begins anew in %g s: %s", ANEW_SECONDS, failed)
        time.sleep(ANEW_SECONDS)


def _hear_signals() -> None:
    """Where kopf does not: Linux ignores what the first process of a container has no handler for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


async def _run(settings: Settings) -> str | None:
    """Until a signal, or until the watches fail in a way that passes, which is told."""
    async with app.running(settings, endpoint()) as operator:
        await asyncio.sleep(0)  # its tasks begin, which would take kopf five seconds at its end if they were later than its own
        log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
        try:
            await operator.find_definition()
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
        except (ClusterError, WatchingError) as error:
            return str(error)
        except json.JSONDecodeError as error:
            return f"a watch was sent what is no JSON: {error}"
        except APIError as error:
            if error.status < 500 and error.status not in PASSING:
                raise
            return error.message or f"HTTP status {error.status}"
    return None


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
    kopf.on.cleanup(registry=made)(_end_watches)
    for kind in resources.WATCHED:
        group, plural = resources.PATHS[kind]
        *_, version = group.split("/")
        api = group.split("/")[2] if group.startswith("/apis/") else ""
        kopf.on.event(api, version, plural, registry=made, id=f"seen-{plural}")(_seen(operator, kind))
    return made


async def _end_watches(**_: Any) -> None:
    """Where one watch has failed, kopf leaves the others alone, closes their session, and then waits for them: for ever, mostly."""
    watches = [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")]
    for watch in watches:
        watch.cancel()
    if watches:
        await asyncio.wait(watches, timeout=STOP_SECONDS)


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
    made.process.ultimate_exiting_timeout = 2 * STOP_SECONDS
    for kind in resources.WATCHED:
        chosen = resources.selector(kind)
        if chosen is not None:
            made.watching.label_selectors[resources.PATHS[kind][1]] = chosen
    return made
