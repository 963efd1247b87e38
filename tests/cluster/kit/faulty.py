"""A way to the API server that can fail: it answers instead of it, or not at all, as a test says, and remembers what came by."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import local_server
from aiohttp import web
from kit.cluster import Cluster

Fault = int | str | None
"""A status, `silence` (no answer), `reset` (the connection breaks), or what a watch is sent: `gone` (list anew), `error` (the server has
failed), `unknown` (an event of a kind that nobody knows) or `garbled` (a line that breaks off); None: it works."""
_HOP = {"connection", "transfer-encoding", "content-length", "host", "content-encoding"}


@dataclass(frozen=True, slots=True)
class Request:
    """:ivar at: by the monotonic clock."""

    method: str
    path: str
    at: float

    @property
    def writes(self) -> bool:
        """Something other than the Lease."""
        return self.method in ("POST", "PUT", "PATCH", "DELETE") and "/leases" not in self.path


@dataclass(slots=True)
class Way:
    """:ivar fault: asked for each request, by its method, its path and whether it is a watch.
    :ivar kubeconfig: leads here.
    """

    kubeconfig: Path
    fault: Callable[[str, str, bool], Fault] = lambda method, path, watch: None
    seen: list[Request] = field(default_factory=list)


@contextlib.contextmanager
def way(cluster: Cluster, folder: Path, name: str = "way") -> Iterator[Way]:
    """A way of its own, as the administrator, while the block runs."""
    made = Way(kubeconfig=folder / f"{name}.kubeconfig")
    with _authenticated(cluster) as upstream, local_server.in_a_thread(_serving(made, upstream)) as server:
        made.kubeconfig.write_text(json.dumps(_kubeconfig(server)))
        yield made


def now_and_then(fault: Fault, *, share: float) -> Callable[[str, str, bool], Fault]:
    """A share of the requests for objects fails, by chance, the same in each run; neither watches, nor what kopf asks once, with half a
    minute's patience, at its start."""
    chance = random.Random(1)
    return lambda method, path, watch: fault if not watch and "/namespaces/" in path and chance.random() < share else None


@contextlib.contextmanager
def _authenticated(cluster: Cluster) -> Iterator[str]:
    """kubectl's own proxy, which knows how to log in."""
    command = [str(cluster.programs / "kubectl"), "proxy", "--port=0"]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://{process.stdout.readline().split()[-1]}"
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def _serving(made: Way, upstream: str) -> AsyncIterator[str]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(upstream, timeout=timeout, auto_decompress=False) as session:

        async def answer(request: web.Request) -> web.StreamResponse:
            return await _answer(made, session, request)

        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", answer)
        async with local_server.running(application) as address:
            yield address


async def _answer(made: Way, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
    made.seen.append(Request(request.method, request.path, time.monotonic()))
    watch = request.query.get("watch", "") in ("true", "1")
    match made.fault(request.method, request.path, watch):
        case None:
            return await _pass_on(session, request)
        case "silence":
            await asyncio.sleep(3600)  # the one who asks gives up before
        case "gone":
            return web.json_response({"type": "ERROR", "object": _status(410) | {"reason": "Expired"}})
        case "error":
            return web.json_response({"type": "ERROR", "object": _status(500) | {"reason": "InternalError"}})
        case "unknown":
            return web.json_response({"type": "RENAMED", "object": {}})
        case "garbled":
            return web.Response(text='{"type": "ADDED", "object": {"metadata"\n', content_type="application/json")
        case int(code):
            return web.json_response(_status(code), status=code, headers={"Retry-After": "1"} if code == 429 else {})
    assert request.transport is not None
    request.transport.abort()
    raise web.HTTPInternalServerError


def _status(code: int) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"injected {code}"}


async def _pass_on(session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
    headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
    body = await request.read() or None  # an empty one would get a type, which the API server refuses
    async with session.request(request.method, request.rel_url, headers=headers, data=body) as answer:
        kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP - {"content-encoding"}}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "way", "cluster": {"server": server}}],
        "users": [{"name": "way", "user": {}}],
        "contexts": [{"name": "way", "context": {"cluster": "way", "user": "way"}}],
        "current-context": "way",
    }
