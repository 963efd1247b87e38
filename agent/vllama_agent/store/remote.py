"""Looking at a file that lies elsewhere: small files whole, GGUF files by their header."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from vllama_agent.store.origin import CONNECT_SECONDS, GONE, REFUSED, Origin, content_range
from vllama_core import gguf
from vllama_core.errors import AccessDenied, FetchFailed
from vllama_core.gguf import GgufError, GgufHeader, GgufTruncated

ANSWER_SECONDS = 30.0
"""For a small file, or a piece of a header."""
FIRST_READ = 1 << 20
"""Bytes of a header that are asked for first; a large vocabulary needs some rounds of twice as much."""


class Missing(Exception):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A file's beginning.

    :ivar size: bytes of the whole file; None: the source does not say.
    :ivar etag: a strong one, else empty.
    """

    body: bytes
    size: int | None
    etag: str


@dataclass(frozen=True, slots=True)
class Looked:
    """A GGUF file elsewhere."""

    header: GgufHeader
    size: int
    etag: str


async def read(session: aiohttp.ClientSession, origin: Origin, *, limit: int, ranged: bool = False) -> Answer:
    """The first `limit` bytes of a file. A source that ignores ranges, or lies about sizes, is read no further.

    :raises Missing: there is none.
    :raises FetchFailed: it does not come.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
    headers = dict(origin.headers) | {"Accept-Encoding": "identity"} | ({"Range": f"bytes=0-{limit - 1}"} if ranged else {})
    try:
        async with session.get(origin.url, headers=headers, timeout=timeout) as response:
            if response.status in GONE:
                raise Missing
            if response.status in REFUSED:
                raise AccessDenied(f"{origin.shown}: {origin.denied} (HTTP {response.status})")
            if response.status not in (200, 206):
                raise FetchFailed(f"{origin.shown} answers HTTP {response.status}")
            size = response.content_length
            if response.status == 206:
                begin, size = content_range(response.headers.get("Content-Range", ""))
                if begin != 0:
                    raise FetchFailed(f"{origin.shown} sent another part of the file than the one that was asked for")
            etag = response.headers.get("ETag", "")
            return Answer(await _up_to(response.content, limit), size, "" if etag.startswith("W/") else etag)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FetchFailed(f"{origin.shown} cannot be read: {error or type(error).__name__}") from error


async def header(session: aiohttp.ClientSession, origin: Origin, *, size: int | None = None) -> Looked:
    """The header of a GGUF file.

    :param size: bytes of the file, where they are known.
    :raises FetchFailed: it does not come, or is none.
    """
    asked = FIRST_READ
    while True:
        try:
            answer = await read(session, origin, limit=min(asked, size or asked), ranged=True)
        except Missing:
            raise FetchFailed(f"{origin.shown} is not there") from None
        total = size or answer.size
        if total is None:
            raise FetchFailed(f"{origin.shown} does not say how large the file is")
        try:
            return Looked(gguf.parse(answer.body, total=total), total, answer.etag)
        except GgufTruncated as error:
            if asked >= min(total, gguf.LARGEST_HEADER):
                raise FetchFailed(f"{origin.shown} cannot be used: {error}") from None
            asked = max(asked * 2, error.needed)
        except GgufError as error:
            raise FetchFailed(f"{origin.shown} cannot be used: {error}") from None


async def _up_to(stream: aiohttp.StreamReader, limit: int) -> bytes:
    buffer = bytearray()
    async for chunk in stream.iter_any():
        buffer += chunk
        if len(buffer) >= limit:
            break
    return bytes(buffer[:limit])
