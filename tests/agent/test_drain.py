"""The way out, on a clock of its own."""

import asyncio

import pytest

from vllama_agent.drain import Drain, Phase
from vllama_core.errors import Busy


async def answer(drain, event):
    with drain.working():
        await event.wait()
    return "done"


async def test_answers_may_finish():
    drain, finished, refuse = Drain(), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(answer(drain, finished))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(drain.finish(delay=0, seconds=60, refuse=refuse))
    await refuse.wait()
    assert drain.phase is Phase.REFUSING
    with pytest.raises(Busy, match="shutting down"), drain.working():
        pass
    finished.set()
    await leaving
    assert await running == "done"


async def test_longer_ones_are_ended_with_a_sentence():
    drain = Drain()
    running = asyncio.create_task(answer(drain, asyncio.Event()))
    await asyncio.sleep(0)
    await drain.finish(delay=0, seconds=0.01, refuse=asyncio.Event())
    with pytest.raises(Busy, match="longer than it may wait"):
        await running
    assert running.cancelling() == 0


async def test_a_client_that_leaves_is_no_drain():
    drain = Drain()
    running = asyncio.create_task(answer(drain, asyncio.Event()))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert drain.running == 0


async def test_a_second_signal_ends_all_at_once():
    drain = Drain()
    running = asyncio.create_task(answer(drain, asyncio.Event()))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(drain.finish(delay=60, seconds=600, refuse=asyncio.Event()))
    await asyncio.sleep(0)
    assert drain.phase is Phase.LEAVING
    drain.hurry()
    await leaving
    with pytest.raises(Busy):
        await running


async def test_nothing_running_means_no_wait():
    await asyncio.wait_for(Drain().finish(delay=0, seconds=600, refuse=asyncio.Event()), 1)
