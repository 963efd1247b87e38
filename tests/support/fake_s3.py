"""A storage that speaks as much of S3's HTTP as reading takes, on a free port, with faults that tests choose.

Paths are ``/bucket/key``. Signatures are taken as they come, but each signed address can be ended. An object's parts, ranges and conditions
are Amazon's: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape

import local_server
from aiohttp import web

PIECE = 64 << 10
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class FakeS3:
    """The storage's state, faults, and what it saw.

    :ivar knows_sha256: whether objects were uploaded with one.
    :ivar public: whether requests without a signature are answered.
    :ivar region: where the buckets are; signatures for another one are refused. Empty: there are no regions.
    :ivar wrong: keys whose bytes are wrong.
    :ivar cut_after: the next content request is cut after so many bytes; and so on.
    :ivar ended: signatures that are refused.
    :ivar nonsense_after: once so many bytes were sent, answers to requests for content are no HTTP.
    """

    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    knows_sha256: bool = False
    public: bool = False
    region: str = ""
    denied: bool = False
    wrong: set[str] = field(default_factory=set)
    cut_after: deque[int] = field(default_factory=deque)
    page: int = 1000
    nonsense_after: int | None = None
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of content by key."""
    seen: list[str] = field(default_factory=list)
    signatures: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    endpoint: str = ""

    def add(self, bucket: str, **objects: bytes) -> None:
        self.buckets.setdefault(bucket, {}).update(objects)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.buckets.setdefault(bucket, {})[key] = data

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        signature = request.query.get("X-Amz-Signature") or request.headers.get("Authorization", "")
        if self.denied or not (self.public or signature) or signature in self.ended:
            return _error(request, 403, "AccessDenied")
        self.signatures.add(signature)
        bucket = self.buckets.get(request.match_info["bucket"])
        if bucket is None:
            return _error(request, 404, "NoSuchBucket")
        key = request.match_info.get("key", "")
        if request.method == "HEAD" and not key:
            return web.Response(headers={"x-amz-bucket-region": self.region} if self.region else {})
        signed_for = request.query.get("X-Amz-Credential", "") + request.headers.get("Authorization", "")
        if f"/{self.region}/" not in signed_for and self.region:
            return _error(request, 400, "AuthorizationHeaderMalformed")
        if not key:
            return self._list(request, bucket)
        if key not in bucket:
            return _error(request, 404, "NoSuchKey")
        return await self._object(request, key, bucket[key], signature)

    def _list(self, request: web.Request, bucket: dict[str, bytes]) -> web.Response:
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = [key for key in sorted(bucket) if key.startswith(prefix) and key > after]
        page, more = keys[: self.page], keys[self.page :]
        told = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(bucket[key])}</Size><ETag>{escape(_etag(bucket[key]))}</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult {NAMESPACE}><EncodingType>url</EncodingType>'
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{token}{told}</ListBucketResult>"
        )
        return web.Response(text=body, content_type="application/xml")

    async def _object(self, request: web.Request, key: str, data: bytes, signature: str) -> web.StreamResponse:
        headers = {"ETag": _etag(data), "Accept-Ranges": "bytes"}
        if self.knows_sha256 and request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(data).digest()).decode()
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        if request.headers.get("If-Match", _etag(data)) != _etag(data):
            return _error(request, 412, "PreconditionFailed")
        asked, status, start, end = request.http_range, 200, 0, len(data)
        if asked.start is not None:
            start, end, status = asked.start, min(asked.stop or len(data), len(data)), 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        if request.method == "GET" and self.nonsense_after is not None and self.sent[key] >= self.nonsense_after:
            transport = request.transport
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"HTTP/1.1 200 OK\r\n: nonsense\r\n\r\n")
        response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(end - start)})
        await response.prepare(request)
        if request.method == "GET":
            with suppress(ConnectionError):  # a client that leaves
                await self._send(request, response, key, data[start:end])
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, key: str, data: bytes) -> None:
        left = self.cut_after.popleft() if self.cut_after else len(data)
        for at in range(0, len(data), PIECE):
            piece = data[at : at + min(PIECE, left)]
            left -= len(piece)
            await response.write(bytes(len(piece)) if key in self.wrong else piece)
            self.sent[key] += len(piece)
            if left == 0 and at + len(piece) < len(data):
                transport = request.transport
                assert transport is not None
                transport.abort()
                break


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(request: web.Request, status: int, code: str) -> web.Response:
    body = "" if request.method == "HEAD" else f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'
    return web.Response(status=status, text=body, content_type="application/xml")


@asynccontextmanager
async def running() -> AsyncIterator[FakeS3]:
    """The storage, on a port that the system chooses."""
    storage, app = FakeS3(), web.Application()
    app.add_routes([web.route("*", "/{bucket}", storage.answer), web.route("*", "/{bucket}/{key:.*}", storage.answer)])
    async with local_server.running(app) as storage.endpoint:
        yield storage
