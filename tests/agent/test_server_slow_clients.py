"""Clients that are slow on purpose, on sockets of the real server: none holds a connection for ever, and honest ones are not cut."""

import asyncio
import json
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp.http_writer import StreamWriter
from aiohttp.test_utils import make_mocked_request

from vllama_agent.server import answers
from vllama_agent.server.sender import Sender
from vllama_agent.testing import FakeEngine, serving, until
from vllama_core.errors import RequestCancelled

HEAD = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n"
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
IDLE = 0.3


@asynccontextmanager
async def connection(served):
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def drip(writer):
    """One byte of a header that never ends, again and again."""
    writer.write(HEAD + b"X-Endless: ")
    while not writer.is_closing():
        writer.write(b"y")
        await asyncio.sleep(IDLE / 20)


async def is_closed(reader):
    """Whether the server closes the connection without a word, within ten times the limit."""
    async with asyncio.timeout(IDLE * 10):
        return await reader.read() == b""


async def test_a_connection_that_sends_nothing_is_closed():
    async with serving(idle_timeout=IDLE) as served, connection(served) as (reader, _):
        assert await is_closed(reader)


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["at its start", "after an answer"])
async def test_headers_that_come_a_byte_at_a_time_are_not_waited_for(first):
    async with serving(idle_timeout=IDLE) as served, connection(served) as (reader, writer):
        if first:
            writer.write(first)
            assert b'"version"' in await reader.readuntil(b"}")
        dripping = asyncio.create_task(drip(writer))
        assert await is_closed(reader)
        dripping.cancel()


async def test_an_answer_may_take_longer_than_a_connection_may_idle():
    async with serving(FakeEngine(delay=IDLE / 4), idle_timeout=IDLE) as served, connection(served) as (reader, writer):
        begin = asyncio.get_running_loop().time()
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT))
        assert b'"done":true' in await reader.readuntil(b"\r\n0\r\n\r\n")
        assert asyncio.get_running_loop().time() - begin > 2 * IDLE
        writer.write(HEAD + b"\r\n")
        assert b"200 OK" in await reader.readline(), "and the connection serves another request"


async def test_a_large_answer_that_nobody_reads_is_not_kept(caplog):
    caplog.set_level("INFO")
    engine = FakeEngine(pieces=["x" * 1_000_000] * 20)
    async with serving(engine, write_timeout=IDLE) as served, connection(served) as (_, writer):
        body = CHAT[:-1] + b',"stream":false}'
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await until(lambda: "POST /api/chat 499" in caplog.text)


async def test_a_large_answer_is_whole_for_a_reader_that_takes_its_time(http):
    async with serving(FakeEngine(pieces=["x" * 1_000_000] * 20), write_timeout=IDLE) as served:
        body = json.loads(CHAT) | {"stream": False}
        async with http.post(served.url + "/api/chat", json=body) as response:
            text = b""
            async for piece in response.content.iter_chunked(2_000_000):
                text += piece
                await asyncio.sleep(IDLE / 10)
    assert len(json.loads(text)["message"]["content"]) == 20_000_000


async def test_a_body_that_does_not_come_is_told(monkeypatch):
    monkeypatch.setattr(answers, "BODY_TIMEOUT", IDLE)
    async with serving() as served, connection(served) as (reader, writer):
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert b"408" in await reader.readline()
        assert b"did not arrive within" in await reader.readuntil(b"}")


@pytest.fixture
def protocol():
    """A connection that takes everything at once."""
    made = Mock(transport=Mock(), _paused=False)
    made.transport.is_closing.return_value = False
    made.transport.get_write_buffer_size.return_value = 0
    return made


def sender_on(protocol):
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    request = make_mocked_request("POST", "/api/chat", writer=writer, transport=protocol.transport, protocol=protocol)
    return Sender(request, "application/x-ndjson", {}, write_timeout=1)


async def test_headers_go_with_the_first_bytes_and_the_end_with_the_last(protocol):
    sender = sender_on(protocol)
    await sender.send(b"first")
    await sender.send(b"more")
    await sender.finish(b"last")
    with pytest.raises(RequestCancelled):
        await sender.send(b"late")
    first, more, last = (bytes(call.args[0]) for call in protocol.transport.write.call_args_list)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert more == b"4\r\nmore\r\n"
    assert last == b"4\r\nlast\r\n0\r\n\r\n"


async def test_an_answer_does_not_wait_to_end_until_its_reader_has_read(protocol):
    sender = sender_on(protocol)
    await sender.send(b"first")
    protocol._paused = True
    protocol.transport.get_write_buffer_size.return_value = 20_000
    protocol._drain_helper = AsyncMock(side_effect=asyncio.Event().wait)
    async with asyncio.timeout(5):
        await sender.finish(b"last")
    assert protocol.transport.write.call_args.args == (b"4\r\nlast\r\n",)


@pytest.mark.parametrize("step", ["prepare", "write"])
async def test_a_reader_that_leaves_as_its_stream_begins_has_cancelled_the_request(step, monkeypatch):
    async def left(*_arguments):
        raise ConnectionResetError

    sender = Sender(make_mocked_request("POST", "/api/chat"), "application/x-ndjson", {}, write_timeout=1)
    monkeypatch.setattr(sender.response, step, left)
    with pytest.raises(RequestCancelled):
        await sender.send(b"{}")
