"""Requests on, replies back, as they come. The key is added on the way; what the server says is not read."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver
from yarl import URL

from vllama_agent import cors
from vllama_agent.apis import refusals
from vllama_agent.apis.errors import Unreachable
from vllama_agent.connect import headers

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""Seconds until a server counts as unreachable. There is no limit to its silence afterwards: it may be loading a model."""
READER_SECONDS = 60.0
"""Seconds that a reader may take nothing of its reply before it loses it, so that the server's work for it ends."""
KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A server that vanished without a word, with its machine or its network, is noticed within a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The server that is meant.

    :ivar url: where its routes begin, without a slash at the end.
    :ivar key: asked anew for each request, so that it may change.
    :ivar tls: whom to trust; None: whom the system trusts.
    """

    url: str
    key: Callable[[], str] = field(repr=False)
    tls: ssl.SSLContext | None = None


class Proxy:
    """One handler for everything.

    :param origins: pages that may use the key.
    """

    def __init__(self, upstream: Upstream, origins: cors.Origins, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._origins = origins
        self._session = session

    def app(self) -> web.Application:
        """The handler on every path, for every method."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on. Only this machine's own programs, and pages of allowed origins, may use the key."""
        refused = cors.answer(request.method, request.headers, self._origins, loopback=True)
        origin = request.headers.get("Origin")
        if refused is not None:
            allowed = {} if refused.status == 403 or origin is None else cors.reply_headers(origin)
            return web.Response(status=refused.status, headers=refused.headers | allowed)
        try:
            async with self.sent(request) as reply:
                return await _passed_back(request, reply, origin)
        except Unreachable as error:
            log.warning("%s", error)
            told = refusals.refusal(request.path, error)
            return web.Response(status=told.status, body=told.body, headers=told.headers)

    @asynccontextmanager
    async def sent(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's reply to a request; it ends with the context, and the server's work with it.

        :raises Unreachable: there is none.
        """
        asked = self._session.request(
            request.method,
            URL(self._upstream.url + _target(request), encoded=True),
            headers=headers.to_server(request.headers, self._upstream.key()),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,  # elsewhere the key is nobody's business
            ssl=True if self._upstream.tls is None else self._upstream.tls,
        )
        try:
            reply = await asked
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(self._upstream.url, error) from None
        if reply.status == 401:
            log.warning("%s refuses the key", self._upstream.url)
        try:
            yield reply
        finally:
            reply.close()


def _target(request: web.Request) -> str:
    """Path and query as they were sent."""
    return str(URL.build(path=request.rel_url.raw_path, query_string=request.rel_url.raw_query_string, encoded=True))


async def _passed_back(request: web.Request, reply: aiohttp.ClientResponse, origin: str | None) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, reason=reply.reason, headers=headers.to_client(reply.headers, origin))
    await response.prepare(request)
    while True:
        try:
            piece = await reply.content.readany()
        except aiohttp.ClientError:
            return await _broken_off(request, reply, response)
        if not piece:
            return response
        await _written(request, response, piece)


async def _written(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
    try:
        async with asyncio.timeout(READER_SECONDS):
            await response.write(piece)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader takes nothing") from None


async def _broken_off(request: web.Request, reply: aiohttp.ClientResponse, response: web.StreamResponse) -> web.StreamResponse:
    """The server went away in mid-reply: told where there is room for words, else by a reply that visibly has no end."""
    error = Unreachable(f"{reply.url.origin()} broke off in the middle of its answer")
    log.warning("%s", error)
    words = None if "Content-Encoding" in reply.headers else refusals.last_words(request.path, reply.content_type, error)
    if words is not None:
        await _written(request, response, words)
    elif request.transport is not None:
        request.transport.abort()
    return response


def unreachable(url: str, error: Exception) -> Unreachable:
    """Why there is no reply, and what to do. The library's own words may hold anything that was sent, and are not used."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "it cannot be verified"
            return Unreachable(f"the certificate of {url} is not trusted: {why}; name its authority with --ca-file")
        case aiohttp.ClientSSLError():
            return Unreachable(f"{url} does not speak TLS; begin the address with http:// if that is meant")
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no server answers at {url}: {_why(error.os_error)}")
        case TimeoutError():
            return Unreachable(f"no server answers at {url} within {CONNECT_SECONDS:g} s")
        case aiohttp.ClientPayloadError():
            return Unreachable("the request broke off before its end")
        case _:
            return Unreachable(f"{url} closed the connection without an answer")


def _why(error: OSError) -> str:
    """asyncio puts the address in the place of the system's words; a resolver's errors have negative numbers."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or "it cannot be reached"


def new_session(resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """Connections to the server. Its replies pass as they are: neither unpacked nor with cookies kept."""
    connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket, resolver=resolver)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trust_env=True,  # HTTPS_PROXY and NO_PROXY
    )


def _socket(address: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        option = getattr(socket, name, None)  # macOS lacks some
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
