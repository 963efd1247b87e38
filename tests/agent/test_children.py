"""Children that report: what they are beside engines that stream."""

from __future__ import annotations

import sys

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
