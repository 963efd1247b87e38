"""Children that report: what they are beside engines that stream, and that none is left."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings

import pytest

from vllama_agent.store.children import NICENESS, Reporter

TELLS = """
import json, os, socket, sys
try:
    group = open("/proc/self/autogroup").read()
except OSError:
    group = None
told = {"session": os.getsid(0) == os.getpid(), "niceness": os.nice(0), "group": group}
socket.socket(fileno=int(sys.argv[1])).sendall(json.dumps(told).encode() + b"\\n")
"""


async def test_they_give_way_to_other_sessions_too() -> None:
    child = await Reporter.start(sys.executable, "-c", TELLS)
    try:
        (told,) = [message async for message in child.messages(what="it", most_silence=10)]
        assert await child.ended() == 0
    finally:
        await child.stop()
    assert told["session"]
    assert told["niceness"] == NICENESS
    if told["group"] is None:
        pytest.skip("this system shares its time between processes alone, without /proc/self/autogroup")
    assert told["group"].split()[-1] == str(NICENESS)


async def cancelled_after(turns: int) -> None:
    """Start a child, and give that up after so many turns of the loop."""
    starting = asyncio.create_task(Reporter.start(sys.executable, "-c", "import sys; sys.stdin.read()"))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    (child,) = await asyncio.gather(starting, return_exceptions=True)
    if isinstance(child, Reporter):
        await child.stop()


@pytest.mark.parametrize("turns", range(12))
def test_a_start_that_is_given_up_leaves_no_process_that_nobody_waits_for(turns: int) -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(cancelled_after(turns))
        gc.collect()
    assert [str(warning.message) for warning in told] == []
