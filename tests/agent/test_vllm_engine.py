"""The vLLM engine over a server that speaks vLLM's API and computes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import descendants
import psutil
import pytest
import small_snapshot

from vllama_agent import child_environment, testing
from vllama_agent.engines.base import Delta, EngineState, FinishReason, GenerateRequest, Message
from vllama_agent.engines.vllm import engine as engine_module
from vllama_agent.engines.vllm.arguments import Settings
from vllama_agent.engines.vllm.engine import VllmEngine
from vllama_agent.engines.vllm.server import Launch
from vllama_core.errors import EngineFailed, InvalidRequest, PromptTooLong

STANDIN = Path(__file__).resolve().parents[2] / "bench" / "standin_vllm.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="vLLM runs on Linux")


def engine(tmp_path: Path, *extra: str, context: int = 256) -> VllmEngine:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} "$@"\n')
    python.chmod(0o755)
    model = small_snapshot.write(tmp_path / "model", vocab_size=256, max_position_embeddings=4096)
    settings = Settings(context=context, sequences=8, extra=extra)
    return VllmEngine(Launch(python=python, model=model, settings=settings, caches=tmp_path / "cache", needed=5 << 30), load_timeout=30)


@asynccontextmanager
async def loaded(tmp_path: Path, *extra: str, **options: Any) -> AsyncIterator[VllmEngine]:
    made = engine(tmp_path, *extra, **options)
    await made.load()
    try:
        yield made
    finally:
        await made.unload()


def children() -> list[psutil.Process]:
    return descendants.named("standin_vllm")


async def read(made: VllmEngine, request: GenerateRequest) -> list[Delta]:
    async with made.generate(request) as generation:
        return [delta async for delta in generation]


async def test_it_loads_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    made = engine(tmp_path)
    await made.load()
    assert made.state is EngineState.READY
    assert made.facts is not None
    assert (made.facts.context_length, made.facts.kv_cells, made.facts.trained_context) == (256, 4096, 4096)
    assert (made.facts.engine, "mirostat" in made.facts.ignores) == ("vLLM 0.32.0", True)
    deltas = await read(made, GenerateRequest(prompt="hello", max_tokens=30))
    assert deltas[-1].finish is FinishReason.LENGTH
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.generated_tokens == 30
    assert "".join(delta.text for delta in deltas).startswith(' of and model served tokens quickly\n "quoted" naïve the of')
    assert made.stats().running == 0
    [child] = children()
    place = Path(child.cmdline()[child.cmdline().index("--uds") + 1]).parent
    await made.unload()
    assert made.state is EngineState.STOPPED
    assert children() == []
    assert not place.exists()


async def test_neither_it_nor_its_keeper_is_given_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in child_environment.SECRETS:
        monkeypatch.setenv(name, "canary")
    async with loaded(tmp_path):
        started = psutil.Process().children(recursive=True)
        assert set(children()) < set(started), "the stand-in, and its keeper"
        for process in started:
            assert b"canary" not in Path(f"/proc/{process.pid}/environ").read_bytes()


@pytest.mark.parametrize(("runs", "warned"), [("0.32.7", False), ("0.31.0", True), ("1.32.0", True)])
async def test_another_minor_version_than_the_pinned_one_is_a_warning_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, runs: str, warned: bool
) -> None:
    monkeypatch.setenv("VLLAMA_BENCH_STANDIN_VERSION", runs)
    async with loaded(tmp_path):
        assert (f"vLLM {runs} runs here; this version of vllama was tested with 0.32.0" in caplog.text) == warned


async def test_progress_is_told_while_it_loads(tmp_path: Path) -> None:
    made = engine(tmp_path)
    told: set[str | None] = set()
    loading = asyncio.create_task(made.load())
    while not loading.done():
        told.add(made.progress)
        await asyncio.sleep(0.001)
    await loading
    assert "its KV cache holds 4,096 tokens" in told
    assert made.progress is None
    await made.unload()


async def test_a_server_that_dies_while_loading_says_why(tmp_path: Path) -> None:
    made = engine(tmp_path, "--fail", "No available memory for the cache blocks.")
    with pytest.raises(EngineFailed, match=r"vLLM died while loading model: The model does not fit.*\(reckoned: 5\.4 GB\)"):
        await made.load()
    assert made.state is EngineState.FAILED
    assert children() == []


async def test_a_server_whose_engine_dies_of_its_first_request_says_why(tmp_path: Path) -> None:
    """Its answer says only that there was an issue."""
    made = engine(tmp_path, "--fail-first", "Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down executor.")
    with pytest.raises(
        EngineFailed, match=r"vLLM died while loading model: The system ended its process VllmWorker-0, .*reckoned: 5\.4 GB"
    ):
        await made.load()
    assert children() == []


async def test_an_interpreter_that_is_not_there_says_so(tmp_path: Path) -> None:
    made = engine(tmp_path)
    (tmp_path / "python").unlink()
    with pytest.raises(EngineFailed, match="vLLM died while loading"):
        await made.load()


async def test_a_chat_is_streamed_and_read(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        messages = (Message(role="user", content="hello"),)
        async with made.generate(GenerateRequest(messages=messages, max_tokens=5)) as generation:
            assert generation.reading is None  # its template has no markup
            texts = [delta.text async for delta in generation]
        assert "".join(texts) == " of and model served tokens"


async def test_leaving_closes_the_upstream_at_once(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        async with made.generate(GenerateRequest(prompt="hello")) as generation:
            async for _ in generation:
                break
            assert made.stats().running == 1
        assert made.stats().running == 0
        server, _prompts = made._ready()

        async def running() -> float:
            return float((await server.upstream.get("/metrics")).split()[1])

        async with asyncio.timeout(5):
            while await running():  # noqa: ASYNC110  another process's state has no event
                await asyncio.sleep(0.01)


async def test_thirty_two_answers_at_once_are_all_whole(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        found = await asyncio.gather(*(read(made, GenerateRequest(prompt=f"hello {n}", max_tokens=20)) for n in range(32)))
        assert [deltas[-1].usage.generated_tokens for deltas in found if deltas[-1].usage] == [20] * 32


async def test_a_prompt_that_is_too_long_is_cut_or_refused(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        with pytest.raises(PromptTooLong, match="300 tokens, context 256"):
            await read(made, GenerateRequest(prompt="x" * 300, max_tokens=1))
        async with made.generate(GenerateRequest(prompt="x" * 300, max_tokens=1, truncate=True)) as generation:
            assert (generation.asked_tokens, generation.dropped_tokens) == (300, 45)
            assert len(generation.prompt_tokens) == 255
        messages = tuple(Message(role="user", content=f"{n}" * 100) for n in range(4))
        async with made.generate(GenerateRequest(messages=messages, max_tokens=1, truncate=True)) as generation:
            assert bytes(generation.prompt_tokens).decode() == f"user: {'2' * 100}\nuser: {'3' * 100}\nassistant: "


async def test_a_refusal_names_the_field(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        with pytest.raises(InvalidRequest, match="outside the vocabulary"):
            await read(made, GenerateRequest(prompt_tokens=(999,), max_tokens=1))
        with pytest.raises(InvalidRequest, match="does not support insert"):
            await read(made, GenerateRequest(prompt="a", suffix="b", max_tokens=1))


async def test_ids_of_earlier_turns_come_first(tmp_path: Path) -> None:
    async with loaded(tmp_path) as made:
        request = GenerateRequest(messages=(Message(role="user", content="hello"),), context=(65, 66), max_tokens=1)
        async with made.generate(request) as generation:
            assert bytes(generation.prompt_tokens) == b"ABuser: hello\nassistant: "
        assert await made.render(request) == "user: hello\nassistant: "
        assert await made.detokenize(await made.tokenize("hello")) == "hello"


async def test_an_engine_that_dies_tells_its_answers_why_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF", (0.01,) * 3)
    async with loaded(tmp_path) as made:
        with pytest.raises(EngineFailed, match=r"model runner has unexpectedly stopped: vLLM died while serving: .* off the bus"):
            await read(made, GenerateRequest(prompt="die!"))
        await testing.until(lambda: made.state is not EngineState.READY)
        await testing.until(lambda: made.state is EngineState.READY)
        assert len(await read(made, GenerateRequest(prompt="hello", max_tokens=1))) > 0


async def test_an_answer_that_unloading_breaks_off_says_so(tmp_path: Path) -> None:
    made = engine(tmp_path)
    await made.load()
    async with made.generate(GenerateRequest(prompt="hello")) as generation:
        await made.unload()
        with pytest.raises(EngineFailed, match="the model was unloaded"):
            _ = [delta async for delta in generation]


async def test_a_keeper_that_loses_its_agent_ends_the_server(tmp_path: Path) -> None:
    made = engine(tmp_path)
    await made.load()
    [child] = children()
    server, _prompts = made._ready()
    pipe = server._program._pipe
    assert pipe is not None
    server._program._pipe = None
    os.close(pipe)  # as a killed agent's is closed
    child.wait(5)
    await made.unload()


async def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllama_agent.engines.vllm.server.STOP_GRACE", 0.2)
    made = engine(tmp_path)
    await made.load()
    [child] = children()
    child.send_signal(signal.SIGSTOP)
    await made.unload()
    assert not child.is_running()
