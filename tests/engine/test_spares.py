"""Processes that wait for a model: a load takes them, others take their place, and none is left when the agent ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import descendants
import psutil
import pytest

from vllama_agent.engines.llama_cpp import spares
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.engines.llama_cpp.spares import HELPER, WORKER, Program, Spares
from vllama_agent.testing import until
from vllama_core.config import LoadConfig
from vllama_core.sizing.shape import MIB

NO_REST = (0.0,) * 4
BROKEN = Program("program that is not there", "vllama_agent.no_such_module")


def processes(program: Program) -> set[psutil.Process]:
    """Running ones of a program, without their keepers."""
    return {process for process, command in descendants.living().items() if command[1:3] == ["-m", program.module]}


def engine_of(file: Path, waiting: Spares) -> LlamaCppEngine:
    return LlamaCppEngine(files=(file,), config=LoadConfig(ctx_size=256, kv_cells=512, parallel=4), load_timeout=60, spares=waiting)


@pytest.fixture
async def waiting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spares]:
    monkeypatch.setattr(spares, "RESTS", NO_REST)
    made = Spares()
    await made.begin()
    await until(lambda: len(processes(WORKER)) == len(processes(HELPER)) == 1)
    yield made
    await made.close()
    await until(lambda: not descendants.living())


async def test_a_load_takes_those_that_wait_and_others_take_their_place(waiting: Spares, tiny_llama: Path) -> None:
    before = processes(WORKER) | processes(HELPER)
    engine = engine_of(tiny_llama, waiting)
    await engine.load()
    await until(lambda: len(processes(WORKER)) == 2)
    await until(lambda: len(processes(HELPER)) >= 2)
    assert await engine.tokenize("once upon a time")
    await engine.unload()
    await until(lambda: not before & (processes(WORKER) | processes(HELPER)))
    assert len(processes(WORKER)) == 1, "the one that waits for the next model"


async def test_the_next_load_finds_its_processes_too(waiting: Spares, tiny_llama: Path) -> None:
    for _ in range(2):
        await until(lambda: len(processes(WORKER)) == len(processes(HELPER)) == 1)
        spare = processes(WORKER)
        engine = engine_of(tiny_llama, waiting)
        await engine.load()
        assert spare <= processes(WORKER)
        await engine.unload()
        await until(lambda gone=spare: not gone & processes(WORKER))  # type: ignore[misc]


async def test_one_that_died_is_replaced(waiting: Spares) -> None:
    [victim] = processes(WORKER)
    victim.kill()
    await until(lambda: bool(processes(WORKER) - {victim}))


async def test_a_dead_one_is_given_to_nobody(waiting: Spares, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "RESTS", (60.0,) * 4)  # nobody takes their place in this test's time
    victims = processes(WORKER) | processes(HELPER)
    for victim in victims:
        victim.kill()
    # until they are reaped, as a dying process keeps its socket for milliseconds; and without the event loop, which is to learn of it late
    _, left = psutil.wait_procs(victims, timeout=30)
    assert not left
    engine = engine_of(tiny_llama, waiting)
    await engine.load()
    await engine.unload()


async def test_what_dies_of_its_start_is_left_alone_after_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "RESTS", NO_REST)
    shelf = spares._Shelf(BROKEN, refill=True)
    await shelf.begin()
    watch = shelf._watch
    assert watch is not None
    await asyncio.wait_for(watch, 60)
    await until(lambda: not descendants.living())
    await shelf.close()


async def test_an_agent_of_one_model_keeps_none_in_its_place(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "RESTS", NO_REST)
    waiting = Spares(refill=False)
    await waiting.begin()
    await until(lambda: bool(processes(WORKER)))
    [spare] = processes(WORKER)
    engine = engine_of(tiny_llama, waiting)
    await engine.load()
    assert processes(WORKER) == {spare}
    assert [shelf._watch for shelf in waiting._shelves.values()] == [None, None]
    await engine.unload()
    await waiting.close()
    await until(lambda: not descendants.living())


async def test_after_the_end_a_load_starts_its_own_and_none_waits(waiting: Spares, tiny_llama: Path) -> None:
    await waiting.close()
    await until(lambda: not descendants.living())
    engine = engine_of(tiny_llama, waiting)
    await engine.load()
    assert len(processes(WORKER)) == 1
    await engine.unload()
    await until(lambda: not descendants.living())


@pytest.mark.skipif(sys.platform != "linux", reason="this machine tells no anonymous memory in /proc")
async def test_waiting_takes_no_more_memory_than_the_documentation_says(waiting: Spares) -> None:
    """docs/operations.md: 24 MiB."""
    for program in (WORKER, HELPER):
        [process] = processes(program)
        await until(lambda process=process: waits(process))  # type: ignore[misc]
        assert anonymous(process) <= 26 * MIB


def waits(process: psutil.Process) -> bool:
    """In `select`, for its first frame."""
    return "poll" in Path(f"/proc/{process.pid}/wchan").read_text()


def anonymous(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024
