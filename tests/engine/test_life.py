"""The real engine's processes: whatever ends a load or a job half-way, none is left, and whoever waits is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import descendants
import psutil
import pytest

from vllama_agent.engines.base import EngineState, GenerateRequest, Message
from vllama_agent.engines.llama_cpp import engine as engine_module
from vllama_agent.engines.llama_cpp import helpers, lib, version, wire
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.testing import until
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed, InvalidRequest, PromptTooLong

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
"""A template that is busy until its deadline."""


def made(file: Path) -> LlamaCppEngine:
    return LlamaCppEngine(files=(file,), config=LoadConfig(ctx_size=256, kv_cells=512, parallel=4), load_timeout=60)


@pytest.fixture
async def engine(tiny_llama: Path) -> AsyncIterator[LlamaCppEngine]:
    loaded = made(tiny_llama)
    await loaded.load()
    yield loaded
    await loaded.unload()


def endless() -> GenerateRequest:
    return GenerateRequest(messages=(Message(role="user", content="x"),), template=ENDLESS)


async def test_a_load_that_is_cancelled_says_so_and_leaves_no_process(tiny_llama: Path) -> None:
    """The pool's time limit on a load cancels it; an exception group would be no answer that a request understands."""
    engine = made(tiny_llama)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await engine.load()
    assert engine.state is EngineState.STOPPED
    await until(lambda: not descendants.living())
    await engine.load()
    await engine.unload()


async def test_a_worker_that_dies_again_and_again_is_given_up_with_a_sentence(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF", (0.01,) * 3)
    deaths = 0

    def kill() -> bool:
        """Whatever worker there is, as soon as it is there."""
        nonlocal deaths
        for process in descendants.named("llama_cpp.worker"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                deaths += 1
        return engine.state is EngineState.FAILED

    await until(kill, seconds=60)
    assert deaths > len(engine_module.BACK_OFF)
    assert "3 restarts did not help" in (engine.failure or "")
    with pytest.raises(EngineFailed, match="restarts did not help"):
        async with engine.generate(GenerateRequest(prompt="x")):
            pass
    await until(lambda: not descendants.living())


async def test_a_job_at_work_ends_with_the_engine_and_starts_no_helper(engine: LlamaCppEngine) -> None:
    job = asyncio.create_task(engine.render(endless()))
    helper = engine._helpers
    assert helper is not None
    await until(helper._turn.locked)
    await engine.unload()
    with pytest.raises(EngineFailed, match="being unloaded"):
        await job
    await until(lambda: not descendants.living())


async def test_a_job_whose_client_left_gives_its_answer_to_nobody(engine: LlamaCppEngine) -> None:
    expected = await engine.tokenize("once upon a time")
    for _ in range(3):
        job = asyncio.create_task(engine.render(endless()))
        helper = engine._helpers
        assert helper is not None
        await until(helper._turn.locked)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert await engine.tokenize("once upon a time") == expected


async def test_a_system_that_can_start_no_process_is_a_failed_load(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    engine = made(tiny_llama)
    with pytest.raises(EngineFailed, match=r"cannot be started: .* temporarily"):
        await engine.load()
    assert engine.state is EngineState.FAILED


async def test_what_only_flash_attention_allows_is_told_where_it_is_off(tiny_llama: Path) -> None:
    config = LoadConfig(ctx_size=256, kv_cells=512, parallel=4, cache_type_v="q4_0", flash_attn="off")
    engine = LlamaCppEngine(files=(tiny_llama,), config=config, load_timeout=60)
    with pytest.raises(EngineFailed, match="values in q4_0 need flash attention: say --flash-attn on"):
        await engine.load()


async def test_millions_of_token_ids_are_a_prompt_that_is_too_long(engine: LlamaCppEngine) -> None:
    """They cost no helper: a frame's lists are bounded, so ids travel packed."""
    before = {p.pid for p in descendants.living()}
    request = GenerateRequest(prompt="x", context=(3,) * 2_000_000)
    with pytest.raises(PromptTooLong, match="2000001 tokens"):
        async with engine.generate(request):
            pass
    assert before <= {p.pid for p in descendants.living()}
    outside = GenerateRequest(prompt_tokens=(1, 2, 10**9))
    with pytest.raises(InvalidRequest, match="prompt: token id 1000000000 is outside the vocabulary"):
        async with engine.generate(outside):
            pass


async def test_a_template_that_never_ends_costs_its_own_request_only(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "JOB_SECONDS", 0.5)
    hostile = asyncio.create_task(engine.render(endless()))
    assert engine._helpers is not None
    await until(engine._helpers._turn.locked)
    assert await engine.tokenize("once upon a time")
    with pytest.raises(InvalidRequest, match=r"took longer than 0\.5 s and was stopped"):
        await hostile


async def test_a_worker_of_another_protocol_is_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PROTOCOL", wire.PROTOCOL + 1)
    engine = made(tiny_llama)
    with pytest.raises(EngineFailed, match=f"speaks protocol {wire.PROTOCOL - 1}, this agent {wire.PROTOCOL}"):
        await engine.load()
    await until(lambda: not descendants.living())


@pytest.mark.parametrize(("installed", "told"), [("0.3.1", "llama-cpp-python 0.3.1 is installed"), (None, "is not installed")])
def test_another_llama_cpp_python_is_refused(installed: str | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "installed", lambda: installed)
    with pytest.raises(EngineFailed, match=f"{told}; this version of vllama needs exactly {version.PINNED}"):
        lib.start(lambda _line: None)
