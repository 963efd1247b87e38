"""A Hugging Face hub on a free port, with the real one's HTTP as far as downloads go, and with faults that tests choose.

Routes, status codes, headers and error codes are the real hub's. https://huggingface.co/docs/hub/api. Large files answer with a
redirect to a second server, which stands for the content network: there a token must never arrive.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import local_server
from aiohttp import web

PIECE = 64 << 10
LARGE = 1024
"""Files from this size on are in LFS."""


@lru_cache(maxsize=8)
def _sha256(data: bytes) -> str:
    """Tests share their large files, and hashing one takes longer than most tests."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Content:
    """A file's bytes: in memory, or on disk for large ones."""

    source: bytes | Path = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @property
    def whole(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def sha256(self) -> str:
        if isinstance(self.source, bytes):
            return _sha256(self.source)
        with open(self.source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def sha1(self) -> str:
        return hashlib.sha1(b"blob %d\0" % self.size + self.whole).hexdigest()

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        if isinstance(self.source, bytes):
            for at in range(start, end, PIECE):
                yield self.source[at : min(at + PIECE, end)]
            return
        for at in range(start, end, 4 * PIECE):
            with open(self.source, "rb") as file:  # opened for each piece: a client may leave between two, and nobody would close it
                file.seek(at)
                data = file.read(min(4 * PIECE, end - at))
            yield data


@dataclass
class Repo:
    """A repository at one commit."""

    files: dict[str, Content]
    gated: bool = False
    license: str | None = None
    commit: str = ""
    sums: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Git's hash and, for large files, the sha256."""

    def __post_init__(self) -> None:
        for path, content in self.files.items():
            sha256 = content.sha256() if content.size >= LARGE else None
            self.sums[path] = (sha256[:40] if sha256 else content.sha1(), sha256)
        self.commit = hashlib.sha1(repr(sorted(self.sums.items())).encode()).hexdigest()


@dataclass
class FakeHub:
    """The hub's state, faults, and what it saw.

    :ivar answers: statuses with headers that the next requests for content get instead of content.
    :ivar api_answers: the same for the API.
    :ivar cut_after: the next content request is cut after so many bytes; and so on.
    :ivar gate: while it is clear, content stops after `gate_at` bytes of the whole were sent.
    :ivar wrong: paths whose bytes are wrong.
    :ivar ranged: whether Range is honoured.
    :ivar rate: bytes in a second that the line to all clients together carries; 0 = as fast as it goes.
    :ivar xet: hashes of files that lie in the storage of chunks `xet_storage`, by path; what fetches them there asks for none here.
    :ivar token: what gated repositories want.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    api_answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    cut_after: deque[int] = field(default_factory=deque)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    gate_at: int = 1 << 62
    wrong: set[str] = field(default_factory=set)
    ranged: bool = True
    rate: float = 0.0
    _free_at: float = 0.0
    xet: dict[str, str] = field(default_factory=dict)
    xet_storage: str = ""
    token: str = "hf_right"
    seen: list[str] = field(default_factory=list)
    """Method and path of every request."""
    ranges: list[str] = field(default_factory=list)
    tokens_at_content: list[str] = field(default_factory=list)
    sending: int = 0
    """Answers with content that go on."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of content per path."""
    endpoint: str = ""
    content_endpoint: str = ""

    def add(self, name: str, files: dict[str, bytes | Path], **more: object) -> Repo:
        repo = Repo({path: Content(source) for path, source in files.items()}, **more)  # type: ignore[arg-type]
        self.repos[name] = repo
        return repo

    # --- API --------------------------------------------------------------------------------------------------------

    def _repo(self, request: web.Request) -> Repo:
        self.seen.append(f"{request.method} {request.path}")
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        repo = self.repos.get(name)
        if repo is None:  # the real hub hides whether a repository exists from those who may not see it
            raise _error(web.HTTPUnauthorized, "RepoNotFound", "Repository not found")
        revision = request.match_info.get("revision", "main")
        if revision not in ("main", repo.commit):
            raise _error(web.HTTPNotFound, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def _check_gate(self, request: web.Request, repo: Repo) -> None:
        if not repo.gated:
            return
        sent = request.headers.get("Authorization")
        if sent is None:
            raise _error(web.HTTPUnauthorized, "GatedRepo", "Access to this model is restricted.")
        if sent != f"Bearer {self.token}":
            raise _error(web.HTTPForbidden, "GatedRepo", "Access to this model is restricted and you are not in the authorized list.")

    async def model(self, request: web.Request) -> web.Response:
        if self.api_answers:
            status, headers = self.api_answers.popleft()
            return web.Response(status=status, headers=headers)
        repo = self._repo(request)
        siblings = []
        for path, content in repo.files.items():
            oid, sha256 = repo.sums[path]
            entry: dict[str, object] = {"rfilename": path}
            if request.query.get("blobs") in ("true", "True", "1"):
                entry |= {"size": content.size, "blobId": oid}
                if sha256:
                    entry["lfs"] = {"sha256": sha256, "size": content.size, "pointerSize": 134}
            siblings.append(entry)
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        body = {
            "_id": "0", "id": name, "modelId": name, "sha": repo.commit, "private": False, "gated": "auto" if repo.gated else False,
            "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings, "cardData": {"license": repo.license},
        }  # fmt: skip
        return web.json_response(body)

    async def tree(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        entries = []
        for path, content in repo.files.items():
            oid, sha256 = repo.sums[path]
            entry: dict[str, object] = {"type": "file", "oid": oid, "size": content.size, "path": path}
            if sha256:
                entry["lfs"] = {"oid": sha256, "size": content.size, "pointerSize": 134}
            entries.append(entry)
        return web.json_response(entries)

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        repo = self._repo(request)
        path = request.match_info["path"]
        if path not in repo.files:
            raise _error(web.HTTPNotFound, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.commit})
        self._check_gate(request, repo)
        content, (oid, sha256) = repo.files[path], repo.sums[path]
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes", "Access-Control-Allow-Origin": "*"}
        if sha256 is None:
            return await self._content(request, path, content, headers | {"ETag": f'"{oid}"'})
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        if path in self.xet:
            headers |= {"X-Xet-Hash": self.xet[path], "X-Xet-Refresh-Route": f"{self.endpoint}/api/models/{name}/xet-read-token/main"}
        location = f"{self.content_endpoint}/{name}/{path}?Signature=secret"
        return web.Response(
            status=302, headers=headers | {"Location": location, "X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{sha256}"'}
        )

    async def xet_token(self, request: web.Request) -> web.Response:
        self._check_gate(request, self._repo(request))
        headers = {"X-Xet-Cas-Url": self.xet_storage, "X-Xet-Access-Token": "chunks", "X-Xet-Token-Expiration": "4102444800"}
        return web.Response(headers=headers)

    async def content(self, request: web.Request) -> web.StreamResponse:
        self.tokens_at_content += request.headers.getall("Authorization", [])
        path = request.match_info["path"]
        repo = self.repos[f"{request.match_info['owner']}/{request.match_info['name']}"]
        return await self._content(request, path, repo.files[path], {"Accept-Ranges": "bytes", "ETag": '"content"'})

    async def _content(self, request: web.Request, path: str, content: Content, headers: dict[str, str]) -> web.StreamResponse:
        if request.method == "GET" and self.answers:
            status, more = self.answers.popleft()
            return web.Response(status=status, headers=more)
        start, end, status = 0, content.size, 200
        asked = request.http_range
        if self.ranged and asked.start is not None:
            self.ranges.append(request.headers["Range"])
            start, end, status = asked.start, min(asked.stop or content.size, content.size), 206
            headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{content.size}"}
        response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(end - start)})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        transport = request.transport
        assert transport is not None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE)
        transport.set_write_buffer_limits(high=PIECE)
        self.sending += 1
        try:
            with suppress(ConnectionError):  # a client that leaves is what some tests are about
                await self._send(response, transport, path, content.pieces(start, end))
        finally:
            self.sending -= 1
        return response

    async def _send(self, response: web.StreamResponse, transport: asyncio.Transport, path: str, pieces: AsyncIterator[bytes]) -> None:
        left = self.cut_after.popleft() if self.cut_after else None
        async for piece in pieces:
            if self.sent[path] >= self.gate_at:
                await self.gate.wait()
            if left is not None:
                piece, left = piece[:left], left - len(piece[:left])
            if path in self.wrong:
                piece = bytes(len(piece))
            await self._line(len(piece))
            await response.write(piece)
            self.sent[path] += len(piece)
            if left == 0:
                transport.abort()
                break

    async def _line(self, size: int) -> None:
        """Wait for a turn on a line that is slower than its two ends, as lines are: so the bytes do not pile up in buffers."""
        if self.rate:
            now = asyncio.get_running_loop().time()
            self._free_at = max(self._free_at, now) + size / self.rate
            await asyncio.sleep(self._free_at - now)


def _error(kind: type[web.HTTPException], code: str, message: str, more: dict[str, str] | None = None) -> web.HTTPException:
    return kind(headers={"X-Error-Code": code, "X-Error-Message": message, **(more or {})}, text=f'{{"error": "{message}"}}')


@asynccontextmanager
async def running(hub: FakeHub | None = None, *, host: str = "127.0.0.1") -> AsyncIterator[FakeHub]:
    """The hub and its content network, on two ports: two origins.

    :param host: the address of both.
    """
    hub = hub or FakeHub()
    api, content = web.Application(), web.Application()
    api.add_routes(
        [
            web.get("/api/models/{owner}/{name}", hub.model),
            web.get("/api/models/{owner}/{name}/revision/{revision:.+}", hub.model),
            web.get("/api/models/{owner}/{name}/tree/{revision}", hub.tree),
            web.get("/api/models/{owner}/{name}/tree/{revision}/{folder:.*}", hub.tree),
            web.get("/api/models/{owner}/{name}/xet-read-token/main", hub.xet_token),
            web.get("/{owner}/{name}/resolve/{revision}/{path:.+}", hub.resolve),
        ]
    )
    content.add_routes([web.get("/{owner}/{name}/{path:.+}", hub.content)])
    runners = [web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1) for app in (api, content)]
    addresses = []
    for runner in runners:
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        addresses.append(f"http://{host}:{runner.addresses[0][1]}")
    hub.endpoint, hub.content_endpoint = addresses
    try:
        yield hub
    finally:
        hub.gate.set()
        for runner in runners:
            await runner.cleanup()


@contextmanager
def in_a_thread() -> Iterator[FakeHub]:
    """The hub for tests that have no event loop of their own. Repositories may be added; faults belong to tests with a loop."""
    hub = FakeHub()
    hub.gate.set()
    with local_server.in_a_thread(running(hub)):
        yield hub
