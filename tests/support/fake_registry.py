"""A registry of Ollama's kind on a free port: manifests and blobs with ranges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import local_server
from aiohttp import web

KIND = "application/vnd.ollama.image."


@dataclass
class FakeRegistry:
    """The registry's state and what it saw.

    :ivar wrong: digests whose bytes are wrong.
    """

    manifests: dict[str, dict[str, object]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    locked: bool = False
    sent: int = 0
    endpoint: str = ""

    def add(self, name: str, *, config: str = "{}", **layers: bytes | str) -> dict[str, str]:
        """A model such as ``library/m:tag``; layers by kind, in order. Digests by kind."""
        digests, described = {}, []
        settings = self._described("application/vnd.docker.container.image.v1+json", config.encode())
        for kind, content in layers.items():
            data = content.encode() if isinstance(content, str) else content
            described.append(self._described(KIND + kind, data))
            digests[kind] = str(described[-1]["digest"]).removeprefix("sha256:")
        self.manifests[name] = {"schemaVersion": 2, "config": settings, "layers": described}
        return digests

    def _described(self, media_type: str, data: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    async def manifest(self, request: web.Request) -> web.Response:
        if self.locked:
            return web.Response(status=401)
        found = self.manifests.get("{namespace}/{model}:{tag}".format(**request.match_info))
        if found is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)
        return web.Response(text=json.dumps(found), content_type="application/vnd.docker.distribution.manifest.v2+json")

    async def blob(self, request: web.Request) -> web.Response:
        data = self.blobs.get(request.match_info["digest"])
        if data is None:
            return web.Response(status=404)
        if request.match_info["digest"] in self.wrong:
            data = data[:-1] + b"?"
        asked = request.http_range
        if asked.start is None:
            self.sent += len(data)
            return web.Response(body=data)
        start, end = asked.start, min(asked.stop or len(data), len(data))
        self.sent += end - start
        return web.Response(status=206, body=data[start:end], headers={"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})


@asynccontextmanager
async def running() -> AsyncIterator[FakeRegistry]:
    """The registry, on a port that the system chooses."""
    registry, app = FakeRegistry(), web.Application()
    app.add_routes(
        [
            web.get("/v2/{namespace}/{model}/manifests/{tag}", registry.manifest),
            web.get("/v2/{namespace}/{model}/blobs/{digest}", registry.blob),
        ]
    )
    async with local_server.running(app) as registry.endpoint:
        yield registry
