"""A thousand requests over every API, a part of them left in the middle, on the real server over a fake engine: then nothing is left."""

import asyncio
import itertools
import os
import sys

import mixed
import pytest

from vllama_agent.chat.events import Begun
from vllama_agent.engines.base import Reading
from vllama_agent.server.routes import ROUTES
from vllama_agent.testing import FakeArtifact, FakeEngine, FakeStore, serving, until

ABSENT = frozenset(route.operation.path for route in ROUTES if route.operation.absent)
TEMPLATE = "{% if tools %}<tool_call></tool_call>{% endif %}</think>{{ messages }}"
PIECES = ["<think>", "Hm", "</think>", "Yes", " <tool_call>", '{"name": "add", "arguments": {"a": 1, "b": 2}}', "</tool_call>", "\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
async def test_a_thousand_mixed_requests_leave_nothing_behind(tmp_path):
    engines: list[FakeEngine] = []

    def make_engine(*_):
        engines.append(FakeEngine(pieces=PIECES, delay=0.001, reading=Reading(family="qwen", thought="think", begun=Begun.NOT)))
        return engines[-1]

    def running():
        return sum(engine.running for engine in engines)

    store = FakeStore("m:latest")
    store.add(FakeArtifact(name="tooled:latest", digest="a" * 64, template=TEMPLATE, files=(tmp_path / "tooled.gguf",)))
    async with serving(store=store, make_engine=make_engine) as served:
        asked = mixed.requests("m", "tooled", seed=1, absent=ABSENT)
        await mixed.run(served.url, itertools.islice(asked, 20), at_once=5)
        await until(lambda: running() == 0)
        tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        seen = await mixed.run(served.url, itertools.islice(asked, 1000), at_once=40)
        await until(lambda: running() == 0 and served.service.admission.inflight == 0)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        assert served.service.drain.running == 0
        assert not any(resident.users for resident in served.service.pool.residents())
    assert seen.total() == 1000
    assert seen[200] > 600
    assert sum(engine.cancelled for engine in engines) > 50
