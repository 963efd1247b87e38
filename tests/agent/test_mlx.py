"""MLX's engine, against a stand-in that speaks what mlx-lm's server speaks; what is decided for it, by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import descendants
import machines
import mlx_stand_in
import psutil
import pytest
import small_snapshot

from vllama_agent.engines import registry
from vllama_agent.engines.base import Constraint, ConstraintKind, Delta, EngineState, FinishReason, GenerateRequest, Message, Sampling
from vllama_agent.engines.mlx import arguments, body, version
from vllama_agent.engines.mlx.engine import MlxEngine
from vllama_agent.engines.mlx.events import MarkedUp
from vllama_agent.engines.suiting import Engines
from vllama_agent.environments import layout
from vllama_agent.store import Store
from vllama_agent.testing import FACTS
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.engine_build import Build, EngineName
from vllama_core.errors import ConfigError, EngineFailed, InvalidRequest
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.shape import GIB, MIB

STAND_IN = mlx_stand_in.__file__
KIND = registry.kind_of(EngineName.MLX)


def chat(text: str, **more: Any) -> GenerateRequest:
    return GenerateRequest(messages=(Message(role="user", content=text),), **more)


def engine(*flags: str, load_timeout: float = 30.0) -> MlxEngine:
    return MlxEngine(
        lambda port: [sys.executable, STAND_IN, "--port", str(port), *flags], model="tiny", facts=FACTS, load_timeout=load_timeout
    )


@asynccontextmanager
async def loaded() -> AsyncIterator[MlxEngine]:
    made = engine()
    await made.load()
    try:
        yield made
    finally:
        await made.unload()


async def answered(made: MlxEngine, request: GenerateRequest) -> list[Delta]:
    async with made.generate(request) as generation:
        return [delta async for delta in generation]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def servers() -> list[psutil.Process]:
    return [child for child, command in descendants.living().items() if command[1:2] == [STAND_IN]]


# -- life ---------------------------------------------------------------------------------------------------------------------------------


async def test_it_loads_answers_and_leaves_no_process() -> None:
    async with loaded() as made:
        assert (made.state, made.facts) == (EngineState.READY, FACTS)
        deltas = await answered(made, chat("hi"))
        assert text_of(deltas) == "Hello world"
        assert deltas[-1].finish is FinishReason.STOP
        usage = deltas[-1].usage
        assert usage is not None
        assert min(usage.prefill_seconds, usage.decode_seconds) > 0
        assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (7, 4, 3)
        assert made.stats().generated_tokens_total == 3
        assert len(servers()) == 1
    assert servers() == []
    assert made.state is EngineState.STOPPED


async def test_a_text_is_answered_as_it_stands() -> None:
    async with loaded() as made:
        assert text_of(await answered(made, GenerateRequest(prompt="hi"))) == "Hello world"


async def test_a_server_that_ends_while_it_loads_says_why() -> None:
    made = engine("--broken")
    with pytest.raises(EngineFailed, match="ended with code 1 while loading tiny; it said: ValueError: Model type what not supported"):
        await made.load()
    assert made.state is EngineState.FAILED


async def test_a_server_that_dies_fails_its_answers_with_its_last_words() -> None:
    async with loaded() as made:
        with pytest.raises(
            EngineFailed, match=r"unexpectedly stopped: MLX's server ended with code 3 while serving; it said: .*out of memory"
        ):
            await answered(made, chat("die"))
        assert made.state is EngineState.FAILED
        assert servers() == []


async def test_a_server_that_is_killed_fails_the_engine() -> None:
    async with loaded() as made:
        [server] = servers()
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="signal 9"):
            await answered(made, chat("long"))


async def test_a_reader_that_leaves_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = asyncio.Event()
    monkeypatch.setattr(MlxEngine, "_said", lambda self, line: gone.set() if line == "client gone" else None)
    async with loaded() as made:
        async with made.generate(chat("long")) as generation:
            async for _ in generation:
                break
        async with asyncio.timeout(10):
            await gone.wait()
        assert made.stats().running == 0


# -- requests -----------------------------------------------------------------------------------------------------------------------------


async def test_what_is_asked_for_reaches_the_server() -> None:
    sampling = Sampling(temperature=0.5, top_k=-1, top_p=0.0, repeat_penalty=1.1, repeat_last_n=-1, seed=3, logit_bias=((5, -1.0),))
    tools = ({"type": "function", "function": {"name": "weather"}},)
    async with loaded() as made:
        told = json.loads(
            text_of(await answered(made, chat("tell", sampling=sampling, stop=("END",), max_tokens=9, tools=tools, think=False)))
        )
    assert told == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "tell"}],
        "tools": list(tools),
        "chat_template_kwargs": told["chat_template_kwargs"],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 0,
        "top_p": body.LEAST_TOP_P,
        "min_p": 0.0,
        "seed": 3,
        "stop": ["END"],
        "logit_bias": {"5": -1.0},
        "repetition_penalty": 1.1,
        "repetition_context_size": FACTS.context_length,
    }


async def test_a_refusal_is_the_callers_fault_in_the_servers_words() -> None:
    async with loaded() as made:
        with pytest.raises(InvalidRequest, match="top_logprobs must be at most 11"):
            await answered(made, chat("refuse"))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat("a", logprobs=True), "logprobs"),
        (chat("a", template="x"), "template"),
        (chat("a", constraint=Constraint(kind=ConstraintKind.JSON_OBJECT, field="format")), "format"),
        (GenerateRequest(prompt_tokens=(1, 2)), "prompt"),
        (GenerateRequest(prompt="a", suffix="b"), "suffix"),
        (chat("a", context=(1,)), "context"),
        (GenerateRequest(messages=(Message(role="user", content="a"), Message(role="assistant", content="b"))), "messages"),
    ],
)
def test_what_the_server_would_leave_out_silently_is_refused(request_: GenerateRequest, field: str) -> None:
    with pytest.raises(InvalidRequest, match="is not to be had from the mlx engine; leave it out") as caught:
        body.check(request_)
    assert caught.value.field == field


# -- thoughts and calls -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("think", "<think>Let me think.</think>Done."),
        ("call", '<think>Hm.</think><tool_call>\n{"name":"weather","arguments":{"city":"Paris"}}\n</tool_call>'),
        ("only think", "<think>Let me think.</think>"),
    ],
)
async def test_what_the_server_took_apart_is_put_back_as_markup_that_our_parsers_read(prompt: str, text: str) -> None:
    async with loaded() as made, made.generate(chat(prompt)) as generation:
        assert generation.reading == body.READING
        assert text_of([delta async for delta in generation]) == text


def test_an_event_that_cannot_be_read_fails_the_answer() -> None:
    with pytest.raises(EngineFailed, match="cannot be read"):
        MarkedUp().take([b"{"])


# -- decided ------------------------------------------------------------------------------------------------------------------------------


def test_the_command_names_the_model_a_port_of_this_machine_and_no_browser() -> None:
    settings = arguments.Settings(context=4096, sequences=8, cache_bytes=1000, template="{{ x }}")
    assert arguments.command(Path("/p"), Path("/m"), 8080, settings) == [
        *("/p", "-I", "-m", "mlx_lm", "server", "--model", "/m", "--host", "127.0.0.1", "--port", "8080", "--allowed-origins", "null"),
        *("--max-tokens", "4096", "--decode-concurrency", "8", "--prompt-cache-bytes", "1000", "--log-level", "INFO"),
        *("--chat-template", "{{ x }}"),
    ]


def test_it_runs_on_apple_silicon_alone_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert version.elsewhere("darwin", "arm64") is None
    assert version.elsewhere("linux", "x86_64") == (
        "MLX runs on Macs with Apple Silicon, and this is linux on x86_64; llama.cpp serves GGUF files here"
    )
    monkeypatch.setattr(version.sys, "platform", "darwin")
    monkeypatch.setattr(version.platform, "machine", lambda: "arm64")
    assert KIND.build(tmp_path) == Build(engine=EngineName.MLX, version=None, install="run: vllama engines install mlx")
    assert version.why_not(tmp_path) == "it is not installed; run: vllama engines install mlx"


def test_an_interpreter_that_a_variable_names_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(version.VARIABLE, sys.executable)
    assert version.find(tmp_path) == Path(sys.executable)
    monkeypatch.setenv(version.VARIABLE, str(tmp_path / "none"))
    assert version.find(tmp_path) is None
    assert "name a Python that has mlx-lm" in version.why_not(tmp_path)


def test_its_pins_name_the_metal_library_of_the_same_version() -> None:
    pins = dict(line.split("==") for line in layout.requirements(layout.MLX.requirements))
    assert pins["mlx"] == pins["mlx-metal"]
    assert layout.MLX.requirement == f"mlx-lm=={version.pinned()}"


def test_a_mac_asked_for_mlx_gets_an_engine_that_is_sized_for_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(version.VARIABLE, sys.executable)
    asked = LoadConfig(engine=EngineName.MLX)
    engines = Engines(AgentConfig(home=tmp_path, load=asked), machines.mac(), registry.builds(tmp_path))
    artifact = Store(tmp_path, prefers=engines.prefers).resolve(str(small_snapshot.write(tmp_path / "m")))
    sized = engines.size(artifact.shape, asked, Budget(host=8 * GIB, devices=(6 * GIB,), unified=True), artifact.form)
    assert (sized.fits, sized.unified, sized.config.ctx_size, sized.config.kv_cells) == (True, True, 64, 256)
    assert 400 * MIB < sized.need.bytes == sized.need.gpu < 401 * MIB
    assert not engines.size(artifact.shape, asked, Budget(host=300 * MIB), artifact.form).fits
    made = engines.make(artifact, sized.config)
    assert isinstance(made, MlxEngine)
    assert made._known.chat_template == small_snapshot.TEMPLATE
    assert made._launch(80)[:7] == [sys.executable, "-I", "-m", "mlx_lm", "server", "--model", str(artifact.folder)]


def test_gguf_files_alone_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gguf: Any) -> None:
    monkeypatch.setenv(version.VARIABLE, sys.executable)
    (tmp_path / "m.gguf").write_bytes(gguf())
    asked = LoadConfig(engine=EngineName.MLX, ctx_size=64, kv_cells=64, parallel=1)
    engines = Engines(AgentConfig(home=tmp_path), machines.mac(), registry.builds(tmp_path))
    with pytest.raises(ConfigError, match=r"mlx was asked for, which needs Hugging Face files, but .* pull it with --format hf"):
        engines.make(Store(tmp_path).resolve(str(tmp_path / "m.gguf")), asked)
