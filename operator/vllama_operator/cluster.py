"""The API server: the only module that sends it anything but watches. Each request has a timeout, each write a permission."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from vllama_operator import names, resources
from vllama_operator.errors import ClusterBusy, ClusterError, NotThere, Rejected, Taken
from vllama_operator.observed import is_owned, slim

Json = Mapping[str, Any]

APPLY = "application/apply-patch+yaml"
# https://kubernetes.io/docs/reference/using-api/server-side-apply/: one manager, which takes over what others changed.
APPLY_QUERY = [("force", "true"), ("fieldValidation", "Strict")]
PAGE = 100
"""Objects per answer of a listing: as sent, each takes tens of kilobytes of memory."""
LONGEST_LOG = 64 << 10
"""Bytes of a log."""
SHOWN = 200
"""Bytes of an answer that is no JSON."""
_REJECTED = frozenset({400, 403, 405, 413, 415, 422})
_BACKGROUND = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the API server is, and how we are known to it.

    :ivar headers: asked before each request, as a service account's token is replaced within the hour.
    """

    server: str
    tls: ssl.SSLContext = field(repr=False)
    headers: Callable[[], Mapping[str, str]] = field(repr=False)


@asynccontextmanager
async def connected(endpoint: Endpoint, *, timeout: float, check: Callable[[], None]) -> AsyncIterator[Cluster]:
    """Connections are kept while the block runs. Parameters as `Cluster`."""
    async with aiohttp.ClientSession(base_url=endpoint.server, connector=aiohttp.TCPConnector(ssl=endpoint.tls)) as session:
        yield Cluster(session, endpoint.headers, timeout=timeout, check=check)


class Cluster:
    """Requests.

    :param headers: of each request, that say who we are.
    :param timeout: seconds for one.
    :param check: raises `NotLeader` where nothing may be written.
    """

    def __init__(
        self, session: aiohttp.ClientSession, headers: Callable[[], Mapping[str, str]], *, timeout: float, check: Callable[[], None]
    ) -> None:
        self._session = session
        self._headers = headers
        self._timeout = timeout
        self._check = check

    async def get(self, kind: str, *, namespace: str, name: str) -> Json:
        """One object.

        :raises NotThere: there is none.
        """
        return await self._request("GET", f"{resources.collection(kind, namespace)}/{name}")

    async def knows(self, kind: str) -> bool:
        """Whether it serves a kind: a definition can come later than we, and be removed.
        https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
        """
        group, plural = resources.PATHS[kind]
        try:
            known = await self._request("GET", group)
        except NotThere:
            return False
        return any(each["name"] == plural for each in known["resources"])

    async def list_all(self, kind: str, namespaces: tuple[str, ...] = (), *, selector: str | None = None) -> list[Json]:
        """All objects of a kind that concern us, without what nobody here reads.

        :param namespaces: empty = all.
        :param selector: by labels; None: what concerns us of that kind.
        """
        found: list[Json] = []
        chosen = selector or resources.selector(kind)
        for namespace in namespaces or (None,):
            proceed = ""
            while True:
                query = [("limit", str(PAGE))]
                query += [("labelSelector", chosen)] if chosen else []
                query += [("continue", proceed)] if proceed else []
                page = await self._request("GET", resources.collection(kind, namespace), query=query)
                # a list says once what kind it is of
                found += [slim(kind, {"apiVersion": page["apiVersion"], **each}) for each in page["items"]]
                proceed = page["metadata"].get("continue") or ""
                if not proceed:
                    break
        return found

    async def log(self, pod: Json, *, container: str, lines: int) -> str:
        """The end of what a container has written so far.

        :raises NotThere, Rejected: it has no log yet, or not any more.
        """
        query = [("container", container), ("tailLines", str(lines)), ("limitBytes", str(LONGEST_LOG))]
        return (await self._send("GET", f"{resources.path({**pod, 'kind': 'Pod'})}/log", query=query)).decode("utf-8", "replace")

    async def events(self, pod: Json) -> list[Json]:
        """What was said of a pod, in no order.
        https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
        """
        metadata = pod["metadata"]
        query = [("fieldSelector", f"regarding.uid={metadata['uid']}"), ("limit", str(PAGE))]
        found: list[Json] = (await self._request("GET", resources.collection("Event", metadata["namespace"]), query=query))["items"]
        return found

    async def follow(self, pod: Json, *, container: str, lines: int, follow: bool) -> AsyncIterator[bytes]:
        """A log as it is written.

        :param lines: of its end, to begin with.
        :param follow: go on until the container ends.
        :raises NotThere, Rejected: it has no log yet, or not any more.
        """
        query = [("container", container), ("tailLines", str(lines)), ("follow", str(follow).lower())]
        path = f"{resources.path({**pod, 'kind': 'Pod'})}/log"
        silent = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout)  # a log may say nothing for hours
        try:
            async with self._session.get(path, params=query, headers=self._headers(), timeout=silent) as reply:
                if reply.status >= 300:
                    raise _error(reply.status, await reply.read(), None)
                async for chunk in reply.content.iter_any():
                    yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ClusterBusy(f"the API server does not answer: {error}") from error

    async def apply(self, manifest: Json, *, manager: str = names.FIELD_MANAGER) -> Json:
        """Make an object, or put right what of it is ours; what it is now.

        :param manager: whose fields they are.
        :raises Rejected: the API server does not take it.
        """
        return await self._write("PATCH", resources.path(manifest), body=manifest, query=_by(manager), content=APPLY)

    async def make(self, manifest: Json, *, uid: str) -> Json:
        """As `apply`, for an object that we have not seen yet.

        :param uid: of the LLMServe that is to own it.
        :raises Taken: it is there, and somebody else's.
        """
        kind, metadata = manifest["kind"], manifest["metadata"]
        try:
            there = await self.get(kind, namespace=metadata["namespace"], name=metadata["name"])
        except NotThere:
            return await self.apply(manifest)
        if not is_owned(there, uid):
            raise Taken(
                f"there is a {kind} {metadata['name']} already, which does not belong to this LLMServe; remove it, or take another name"
            )
        return await self.apply(manifest)

    async def delete(self, body: Json) -> None:
        """Remove exactly this object, not a successor of its name; fine if it is gone."""
        options = {**_BACKGROUND, "preconditions": {"uid": body["metadata"]["uid"]}}
        try:
            await self._write("DELETE", resources.path(body), body=options)
        except NotThere:
            return

    async def apply_status(self, serve: Json, status: Json) -> Json:
        """Write the status; the LLMServe as it is now.

        :raises NotThere: the LLMServe is gone.
        """
        metadata = {key: serve["metadata"][key] for key in ("name", "namespace")}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "status": status}
        return await self._write("PATCH", f"{resources.path(body)}/status", body=body, query=_by(names.FIELD_MANAGER), content=APPLY)

    async def create(self, manifest: Json) -> Json:
        """Make an object that must not be there."""
        where = resources.collection(manifest["kind"], manifest["metadata"]["namespace"])
        return await self._write("POST", where, body=manifest)

    async def create_lease(self, manifest: Json) -> Json:
        """The one write that needs no permission, since it gives it. As `create`."""
        return await self._request("POST", resources.collection("Lease", manifest["metadata"]["namespace"]), body=manifest)

    async def replace_lease(self, manifest: Json) -> Json:
        """As `create_lease`, with the resourceVersion that was read: of two at once, one gets `ClusterBusy`."""
        return await self._request("PUT", resources.path(manifest), body=manifest)

    async def _write(self, method: str, path: str, *, body: Json, query: list[tuple[str, str]] | None = None, content: str = "") -> Json:
        self._check()
        return await self._request(method, path, body=body, query=query, content=content)

    async def _request(
        self, method: str, path: str, *, body: Json | None = None, query: list[tuple[str, str]] | None = None, content: str = ""
    ) -> Json:
        sent = await self._send(method, path, body=body, query=query, content=content)
        try:
            answer: Json = json.loads(sent)
        except ValueError as error:  # something between us and it: a proxy's page, or half an answer
            raise ClusterBusy(f"the API server answers what is no JSON: {sent[:SHOWN]!r}") from error
        return answer

    async def _send(
        self, method: str, path: str, *, body: Json | None = None, query: list[tuple[str, str]] | None = None, content: str = ""
    ) -> bytes:
        headers = {"Accept": "application/json", "Content-Type": content or "application/json", **self._headers()}
        data = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(method, path, params=query, headers=headers, data=data) as reply,
            ):
                received = await reply.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ClusterBusy(f"the API server does not answer: {str(error) or f'nothing within {self._timeout:g} seconds'}") from error
        if reply.status >= 300:
            raise _error(reply.status, received, reply.headers.get("Retry-After"))
        return received


def _by(manager: str) -> list[tuple[str, str]]:
    return [("fieldManager", manager), *APPLY_QUERY]


def _error(status: int, content: bytes, retry_after: str | None) -> ClusterError:
    message = _message(content) or f"HTTP status {status}"
    if status == 404:
        return NotThere(message)
    if status in _REJECTED:
        return Rejected(message)
    return ClusterBusy(message, retry_after=float(retry_after) if retry_after and retry_after.isdigit() else None)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content).get("message") or "")
    except (ValueError, AttributeError):
        return content[:SHOWN].decode("utf-8", "replace").strip()
