"""The agent's end of a child's socket, over a real socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from vllama_agent.engines.llama_cpp import wire
from vllama_agent.engines.llama_cpp.link import Link, LinkClosed


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    link = Link()
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    with theirs:
        yield link, theirs
    link.close()


async def within(awaitable):
    async with asyncio.timeout(10):
        return await awaitable


async def test_frames_are_read_one_at_a_time_and_then_handed_on_in_their_order(ends) -> None:
    link, theirs = ends
    theirs.sendall(b"".join(wire.encode({"t": n}) for n in range(3)))
    assert await within(link.next()) == {"t": 0}
    taken: list[int] = []
    passing = asyncio.create_task(link.pass_on(lambda frame: taken.append(frame["t"])))
    theirs.sendall(wire.encode({"t": 3}))
    theirs.close()
    await within(passing)
    assert taken == [1, 2, 3]


async def test_whoever_waits_learns_that_the_child_is_gone(ends) -> None:
    link, theirs = ends
    waiting = asyncio.create_task(link.next())
    await asyncio.sleep(0)
    theirs.close()
    with pytest.raises(LinkClosed):
        await within(waiting)
    link.send({"t": "into the void"})


async def test_bytes_that_are_no_frames_close_the_link(ends, caplog) -> None:
    link, theirs = ends
    theirs.sendall(b"\xff\xff\xff\xff not a length")
    with pytest.raises(LinkClosed):
        await within(link.next())
    assert "cannot be read" in caplog.text
    assert theirs.recv(1) == b""


async def test_what_is_sent_arrives_as_frames(ends) -> None:
    link, theirs = ends
    link.send({"t": "submit"})
    link.send({"t": "cancel"})
    await asyncio.sleep(0)
    decoder, frames = wire.FrameDecoder(), []
    theirs.settimeout(10)
    while len(frames) < 2:
        frames += decoder.feed(await asyncio.to_thread(theirs.recv, 1 << 16))
    assert [frame["t"] for frame in frames] == ["submit", "cancel"]
