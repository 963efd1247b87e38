"""An OCI registry on a free port: manifests by tag and digest, indexes, blobs with ranges, tokens that end. Faults are chosen by tests.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md, https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import local_server
from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PIECE = 64 << 10


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeOci:
    """The registry's state, faults, and what it saw.

    :ivar auth: ``""``: everybody may read; ``bearer``: with a token, which everybody gets; ``private``: with one that `user` gets;
        ``basic``: with `user` itself.
    :ivar user: ``name:password``.
    :ivar identity: the identity token that is good as well.
    :ivar uses: requests that a token is good for; None = any number.
    :ivar wrong: digests whose bytes are wrong.
    :ivar cut_after: the next blob request is cut after so many bytes; and so on.
    """

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    auth: str = ""
    user: str = "me:hunter2"
    identity: str = "identity-secret"
    uses: int | None = None
    wrong: set[str] = field(default_factory=set)
    cut_after: deque[int] = field(default_factory=deque)
    tokens: dict[str, int] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    sent: int = 0
    endpoint: str = ""

    @property
    def host(self) -> str:
        return self.endpoint.removeprefix("http://")

    def layer(self, media_type: str, data: bytes, **annotations: str) -> dict[str, object]:
        """Keep a blob; its descriptor. Two underscores in an annotation's key stand for a dot."""
        self.blobs[_sha256(data)] = data
        found: dict[str, object] = {"mediaType": media_type, "digest": _sha256(data), "size": len(data)}
        return found | ({"annotations": {key.replace("__", "."): value for key, value in annotations.items()}} if annotations else {})

    def add(self, name: str, *layers: Mapping[str, object], artifact_type: str = "application/vnd.unknown.artifact.v1") -> str:
        """An artifact such as ``ai/model:tag``; its digest."""
        config = self.layer("application/vnd.oci.empty.v1+json", b"{}")
        return self._keep(
            name, {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type, "config": config, "layers": list(layers)}
        )

    def add_index(self, name: str, *digests: str, attestations: tuple[str, ...] = ()) -> str:
        entries: list[dict[str, object]] = [{"mediaType": MANIFEST, "digest": digest, "size": 1} for digest in digests]
        entries += [
            {"mediaType": MANIFEST, "digest": digest, "size": 1, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
            for digest in attestations
        ]
        return self._keep(name, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    def _keep(self, name: str, manifest: dict[str, object]) -> str:
        body = json.dumps(manifest).encode()
        repository, _, _ = name.partition(":")
        self.manifests[name] = self.manifests[f"{repository}:{_sha256(body)}"] = body
        return _sha256(body)

    # --- who may -----------------------------------------------------------------------------------------------------

    def _refused(self, request: web.Request) -> web.Response | None:
        sent = request.headers.get("Authorization", "")
        if not self.auth:
            return None
        if self.auth == "basic":
            wants, is_good = 'Basic realm="here"', sent == self._basic()
        else:
            wants = f'Bearer realm="{self.endpoint}/token",service="fake",scope="repository:somebody/else:pull"'
            is_good = self._use(sent.removeprefix("Bearer "))
        return None if is_good else web.Response(status=401, headers={"WWW-Authenticate": wants})

    def _use(self, token: str) -> bool:
        if self.tokens.get(token, 0) <= 0:
            return False
        self.tokens[token] -= 1
        return True

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(self.user.encode()).decode()

    async def token(self, request: web.Request) -> web.Response:
        asked = dict(await request.post()) if request.method == "POST" else dict(request.query)
        self.scopes.append(str(asked.get("scope")))
        knows = request.headers.get("Authorization") == self._basic() or asked.get("refresh_token") == self.identity
        if self.auth == "private" and not knows:
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=401)
        name = f"token-{len(self.tokens)}"
        self.tokens[name] = self.uses if self.uses is not None else 1 << 30
        return web.json_response({"token": name, "expires_in": 300})

    # --- what there is -----------------------------------------------------------------------------------------------

    async def manifest(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.method} {request.path}")
        refused = self._refused(request)
        if refused is not None:
            return refused
        body = self.manifests.get("{repository}:{reference}".format(**request.match_info))
        if body is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        return web.Response(body=body, content_type=INDEX if INDEX.encode() in body else MANIFEST)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        refused = self._refused(request)
        if refused is not None:
            return refused
        digest = request.match_info["digest"]
        data = self.blobs.get(digest)
        if data is None:
            return web.Response(status=404)
        if digest in self.wrong:
            data = data[:-1] + b"?"
        start, end, headers = 0, len(data), {}
        asked = request.http_range
        if asked.start is not None:
            start, end = asked.start, min(asked.stop or len(data), len(data))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        response = web.StreamResponse(status=206 if headers else 200, headers=headers | {"Content-Length": str(end - start)})
        await response.prepare(request)
        with suppress(ConnectionError):  # a client that leaves
            await self._send(request, response, data[start:end])
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        left = self.cut_after.popleft() if self.cut_after else len(data)
        for at in range(0, len(data), PIECE):
            piece = data[at : at + min(PIECE, left)]
            left -= len(piece)
            await response.write(piece)
            self.sent += len(piece)
            if left == 0 and at + len(piece) < len(data):
                transport = request.transport
                assert transport is not None
                transport.abort()
                break


@asynccontextmanager
async def running() -> AsyncIterator[FakeOci]:
    """The registry, on a port that the system chooses."""
    registry, app = FakeOci(), web.Application()
    app.add_routes(
        [
            web.route("*", "/token", registry.token),
            web.get("/v2/{repository:.+}/manifests/{reference}", registry.manifest),
            web.get("/v2/{repository:.+}/blobs/{digest}", registry.blob),
        ]
    )
    async with local_server.running(app) as registry.endpoint:
        yield registry
