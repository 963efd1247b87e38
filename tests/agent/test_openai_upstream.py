"""The client of an engine that speaks OpenAI's API, over a socket that is written byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vllama_agent.engines.openai_upstream import Upstream
from vllama_core.errors import EngineFailed

EVENT = b"data: x\n\n"
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(EVENT), EVENT)


@asynccontextmanager
async def serving(socket: Path, answers: Callable[[int, int], bool]) -> AsyncIterator[list[int]]:
    """A server that answers with one event, or ends the connection unread.

    :param answers: asked for each request: the number of its connection, and its own number on that.
    :return: requests of each connection.
    """
    requests: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(requests)
        requests.append(0)
        while await reader.read(1 << 16):
            requests[connection] += 1
            if not answers(connection, requests[connection]):
                break
            writer.write(REPLY)
        writer.close()

    async with await asyncio.start_unix_server(serve, socket):
        yield requests


async def read(upstream: Upstream) -> list[bytes] | None:
    async with upstream.stream("/v1/completions", {}) as events:
        payloads = await events.next()
        assert await events.next() is None
        return payloads


async def test_a_kept_connection_that_ends_under_a_request_costs_no_answer(tmp_path: Path) -> None:
    """A server may close what was idle at the very moment at which a request sets out."""
    upstream = Upstream(tmp_path / "s")
    async with serving(tmp_path / "s", lambda connection, number: connection == 1 or number == 1) as requests:
        assert await read(upstream) == [b"x"]
        assert await read(upstream) == [b"x"]
        assert requests == [2, 1]
        await upstream.close()


async def test_a_server_that_answers_nothing_is_asked_twice_and_not_for_ever(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "s")
    async with serving(tmp_path / "s", lambda _connection, _number: False) as requests:
        with pytest.raises(EngineFailed, match="the engine cannot be reached"):
            await read(upstream)
        assert requests == [1, 1]
        await upstream.close()
