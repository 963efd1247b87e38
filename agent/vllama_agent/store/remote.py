"""Looking at a file that lies elsewhere: small files whole, GGUF files by their header."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import aiohttp
from yarl import URL

from vllama_agent.store.origin import CONNECT_SECONDS, GONE, REFUSED, Origin, content_range
from vllama_core import gguf
from vllama_core.errors import AccessDenied, FetchFailed
from vllama_core.gguf import GgufError, GgufHeader, GgufTruncated

STALL_SECONDS = 30.0
"""Without a byte until a source counts as dead."""
SLOWEST_LINE = 64 << 10
"""Bytes in a second: who sends a text or a header slower than that is not waited for."""
FIRST_READ = 1 << 20
"""Bytes of a header that are asked for first; a large vocabulary needs some rounds of twice as much."""
LARGEST_TEXT = 4 << 20
"""Bytes of a registry's manifest or of a blob of text: the protocol's own limit for manifests. Templates and licences have thousands."""


class Missing(Exception):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A file's beginning, or a piece of it.

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


async def read(session: aiohttp.ClientSession, origin: Origin, *, limit: int, ranged: bool = False, start: int = 0) -> Answer:
    """The first `limit` bytes of a file. A source that ignores ranges, or lies about sizes, is read no further.

    :param start: those before it are left out.
    :raises Missing: there is none.
    :raises FetchFailed: it does not come.
    """
    timeout = aiohttp.ClientTimeout(total=STALL_SECONDS + limit / SLOWEST_LINE, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)
    access = await origin.access()
    headers = dict(access.headers) | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-{limit - 1}"} if ranged else {})
    try:
        async with session.get(URL(access.url, encoded=origin.sign is not None), headers=headers, timeout=timeout) as response:
            if response.status in GONE:
                raise Missing
            if response.status in REFUSED:
                raise AccessDenied(f"{origin.shown}: {origin.denied} (HTTP {response.status})")
            if response.status not in (200, 206):
                raise FetchFailed(f"{origin.shown} answers HTTP {response.status}")
            size, before = response.content_length, start
            if response.status == 206:
                begin, size = content_range(response.headers.get("Content-Range", ""))
                before = 0
                if begin != start:
                    raise FetchFailed(f"{origin.shown} sent another part of the file than the one that was asked for")
            etag = response.headers.get("ETag", "")
            return Answer((await up_to(response.content, limit - start + before))[before:], size, "" if etag.startswith("W/") else etag)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FetchFailed(f"{origin.shown} cannot be read: {why(error)}") from None


async def text(session: aiohttp.ClientSession, origin: Origin, *, sha256: str, size: int, what: str) -> str:
    """A text whose checksum and size are known.

    :param what: what errors call it.
    :raises FetchFailed: it does not come, or not with its sha256.
    """
    if size > LARGEST_TEXT:
        raise FetchFailed(f"the {what} has {size} bytes; at most {LARGEST_TEXT} are read")
    try:
        body = (await read(session, origin, limit=LARGEST_TEXT)).body
    except Missing:
        raise FetchFailed(f"the registry has lost the {what}") from None
    if hashlib.sha256(body).hexdigest() != sha256:
        raise FetchFailed(f"the registry sent a wrong {what}: its sha256 is not {sha256}")
    return body.decode("utf-8", "replace")


async def header(session: aiohttp.ClientSession, origin: Origin, *, size: int | None = None) -> Looked:
    """The header of a GGUF file.

    :param size: bytes of the file, where they are known.
    :raises FetchFailed: it does not come, or is none.
    """
    asked, beginning, etag = FIRST_READ, b"", ""
    while True:
        try:
            answer = await read(session, origin, limit=min(asked, size or asked), ranged=True, start=len(beginning))
        except Missing:
            raise FetchFailed(f"{origin.shown} is not there") from None
        total = size or answer.size
        if total is None:
            raise FetchFailed(f"{origin.shown} does not say how large the file is")
        if beginning and answer.etag != etag:
            raise FetchFailed(f"{origin.shown} was changed while it was looked at; try again")
        beginning, etag = beginning + answer.body, answer.etag
        if len(beginning) < min(asked, total):
            raise FetchFailed(f"{origin.shown} sent fewer bytes than were asked for")
        try:
            return Looked(gguf.parse(beginning, total=total), total, etag)
        except GgufTruncated as error:
            if len(beginning) >= min(total, gguf.LARGEST_HEADER):
                raise FetchFailed(f"{origin.shown} cannot be used: {error}") from None
            asked = max(len(beginning) * 2, error.needed)
        except GgufError as error:
            raise FetchFailed(f"{origin.shown} cannot be used: {error}") from None


def why(error: Exception) -> str:
    """What went wrong with a request, without the address: it may be signed, and some errors repeat it."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status} {error.message}".strip()
    if isinstance(error, aiohttp.InvalidURL):
        return "it leads to what is no address"
    return str(error) or type(error).__name__


async def up_to(stream: aiohttp.StreamReader, limit: int) -> bytes:
    """The first `limit` bytes of an answer, or all of a shorter one."""
    buffer = bytearray()
    async for chunk in stream.iter_any():
        buffer += chunk
        if len(buffer) >= limit:
            break
    return bytes(buffer[:limit])
