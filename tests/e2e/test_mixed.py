"""Requests over every API at once, a part of them left in the middle, against the real process: then nothing of them is left.

`pytest tests/e2e/test_mixed.py --soak-minutes=120` goes on for two hours and holds the memory's growth to a bound.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Iterator

import mixed
import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
AT_ONCE = 24
WHOLE = 11
"""The agent; its worker and two text helpers, and one of each that waits for another model, each under a keeper."""
GROWTH_MB = 30
"""Of one process over a soak, once it is warm: an allocator's holes, not requests that were kept."""


@pytest.fixture(scope="module")
def agent(start):
    return start().with_thinker()


def absent(agent) -> frozenset[str]:
    """Paths that this version does not serve, by its own word."""
    paths = agent.client.get("/openapi.json").json()["paths"]
    return frozenset(path for path, methods in paths.items() if "501" in methods.get("post", {}).get("responses", ()))


def processes(agent) -> list[psutil.Process]:
    """The agent, its workers, its text helpers, and their keepers."""
    parent = psutil.Process(agent.process.pid)
    return [parent, *parent.children(recursive=True)]


def held(agent) -> dict[str, float]:
    """What requests hold: in the house, in the engine, and descriptors of every process."""
    load = agent.client.get("/load").json()
    names = ("running", "waiting", "kv_cells_used", "kv_cells_cached")
    used = {name: agent.metric(f"vllama_{name if name.startswith('kv') else f'requests_{name}'}") for name in names}
    return {
        "inflight": load["inflight"],
        "running": used["running"],
        "waiting": used["waiting"],
        "cells": used["kv_cells_used"] - used["kv_cells_cached"],
        "grammars": agent.metric("vllama_grammars"),
        "descriptors": sum(len(os.listdir(f"/proc/{process.pid}/fd")) for process in processes(agent)),
        "threads": sum(process.num_threads() for process in processes(agent)),
    }


def resident_mb(agent) -> dict[str, float]:
    """Of each kind of process the largest. A text helper that was killed has a younger one in its place."""
    kinds = {"agent": processes(agent)[:1], "worker": agent.children("llama_cpp.worker"), "text helper": agent.children("llama_cpp.text")}
    return {kind: max(process.memory_info().rss / 1e6 for process in found) for kind, found in kinds.items()}


def until_time(stream: Iterator[mixed.Asked], end: float) -> Iterator[mixed.Asked]:
    return itertools.takewhile(lambda _: time.monotonic() < end, stream)


def test_mixed_requests_leave_nothing_behind(agent, pytestconfig: pytest.Config) -> None:
    minutes = pytestconfig.getoption("--soak-minutes")
    stream = mixed.requests(agent.model, "thinker", seed=1, absent=absent(agent))
    asyncio.run(mixed.run(agent.url, itertools.islice(stream, 100), at_once=AT_ONCE))
    agent.until(lambda: held(agent)["inflight"] == 0, "the first requests are gone")
    agent.until(lambda: len(processes(agent)) == WHOLE, "a text helper that was killed has been replaced")
    before, memory = held(agent), resident_mb(agent)
    asked = until_time(stream, time.monotonic() + minutes * 60) if minutes else itertools.islice(stream, 900)
    seen = asyncio.run(mixed.run(agent.url, asked, at_once=AT_ONCE))
    agent.until(lambda: len(processes(agent)) == WHOLE, "a text helper that was killed has been replaced")
    zeros = ("inflight", "running", "waiting", "cells", "grammars")
    agent.until(lambda: not any(held(agent)[name] for name in zeros), lambda: f"nothing is held: {held(agent)}")
    closed = "descriptors are closed"
    agent.until(lambda: held(agent)["descriptors"] <= before["descriptors"], lambda: f"{closed}: {before}, {held(agent)}")
    assert held(agent)["threads"] <= before["threads"] + 2, "a pool of threads may still have grown"
    assert seen[200] > seen.total() / 2
    assert agent.process.poll() is None
    assert "Traceback" not in agent.log.read_text()
    if minutes:
        print(f"{seen.total()} requests {dict(seen)}; MB before {memory}, after {resident_mb(agent)}")
        grown = {kind: after - memory[kind] for kind, after in resident_mb(agent).items()}
        assert max(grown.values()) < GROWTH_MB, grown
