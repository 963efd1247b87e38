"""The client of an OpenAI-compatible server that is a child process of ours: on a Unix socket, or on a port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from vllama_agent.engines.openai_events import Refused
from vllama_agent.engines.sse import EventDecoder
from vllama_core.errors import EngineFailed

ASK_SECONDS = 60.0
"""For what is no answer in the making: tokenising ten megabytes takes seconds."""
CONNECT_SECONDS = 10.0
"""A socket of this machine answers in milliseconds, unless the server's loop is stuck."""
IDLE_SECONDS = 2.0
"""A connection that was idle for longer is not used again: uvicorn closes it after five, and a request must not meet that moment."""
READ_BUFFER = 1 << 16
"""Bytes of an answer that may wait for its reader; then the server waits too."""


class Events:
    """A stream of events, by what each read brought."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._decoder = EventDecoder()

    async def next(self) -> list[bytes] | None:
        """Payloads, at least one; None: the stream has ended.

        Waits as long as the model computes: whoever owns the engine watches whether it lives.

        :raises EngineFailed: the connection broke.
        """
        while True:
            try:
                data = await self._content.readany()
            except (aiohttp.ClientError, OSError, RuntimeError) as error:  # aiohttp says RuntimeError of a session that was closed
                raise EngineFailed(f"the engine's answer broke off ({type(error).__name__})") from None
            if not data:
                return None
            if payloads := self._decoder.feed(data):
                return payloads


class Upstream:
    """One server.

    :param place: the socket, or the port of 127.0.0.1, that it listens on.
    :param key: what it wants as a bearer token; empty: nothing.
    """

    def __init__(self, place: Path | int, key: str = "") -> None:
        self._place = place
        self._key = key
        self._base = "http://engine" if isinstance(place, Path) else f"http://127.0.0.1:{place}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection; what streams, breaks off."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, *, seconds: float = ASK_SECONDS) -> bytes:
        """A GET's body.

        :raises Refused: it is no 200.
        :raises EngineFailed: the server does not answer, or not in time.
        """
        return await self._ask("GET", path, None, seconds)

    async def post(self, path: str, body: dict[str, Any], *, seconds: float | None = ASK_SECONDS) -> dict[str, Any]:
        """A POST's JSON reply; errors as `get`.

        :param seconds: None: whoever calls has a limit of its own.
        """
        found: dict[str, Any] = orjson.loads(await self._ask("POST", path, body, seconds))
        return found

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[Events]:
        """A POST whose reply is a stream of events. Leaving closes the connection at once, by which the server learns that nobody reads.

        Entering raises as `get` does, but waits without limit: a prompt that is computed for minutes may come before the headers.
        """
        try:
            response = await self._begun("POST", path, orjson.dumps(body))
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from None
        try:
            if response.status != 200:
                raise _refused(response.status, await _whole(response))
            yield Events(response.content)
        finally:
            # of an answer that was read to its end the connection is free already, and stays
            response.close()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, seconds: float | None) -> bytes:
        data = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(seconds), await self._begun(method, path, data) as response:
                found = await response.read()
        except TimeoutError:
            raise EngineFailed(f"the engine did not answer {path} within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from None
        if response.status != 200:
            raise _refused(response.status, found)
        return found

    async def _begun(self, method: str, path: str, data: bytes | None) -> aiohttp.ClientResponse:
        """A reply whose headers are there. A connection that was kept may end while the request is on its way: then it is sent once more.

        aiohttp does this for methods that change nothing alone. Nothing here changes anything: an answer that nobody reads is not made.
        """
        session, url = self._open(), f"{self._base}{path}"
        try:
            return await session.request(method, url, data=data, headers=_JSON)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if session.closed:
                raise
            return await session.request(method, url, data=data, headers=_JSON)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_connector(self._place),
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
                read_bufsize=READ_BUFFER,
                auto_decompress=False,
            )
        return self._session


def _connector(place: Path | int) -> aiohttp.BaseConnector:
    if isinstance(place, Path):
        return aiohttp.UnixConnector(str(place), limit=0, keepalive_timeout=IDLE_SECONDS)
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)


_JSON = {"Content-Type": "application/json"}


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await response.read()
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(error) from None


def _unreachable(error: BaseException) -> EngineFailed:
    return EngineFailed(f"the engine cannot be reached ({type(error).__name__})")


def _refused(status: int, body: bytes) -> Refused:
    """From vLLM's and OpenAI's shape of an error, or MLX's bare text, or whatever else came."""
    try:
        error = orjson.loads(body)["error"]
        if isinstance(error, str):
            return Refused(status, error)
        return Refused(status, str(error["message"]), parameter=error.get("param"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Refused(status, f"the engine answered with status {status}")
