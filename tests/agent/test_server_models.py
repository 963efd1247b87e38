"""Several models over HTTP: what clients are told of memory and context."""

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from vllama_agent.pool import Surroundings, budget_of, loader
from vllama_agent.server.reloading import reload
from vllama_agent.testing import FACTS, FakeEngine, FakeStore, serving, until
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError


def one_at_a_time(**settings):
    return {"store": FakeStore("a:latest", "b:latest"), "max_loaded": 1, "make_engine": lambda *_: FakeEngine(), **settings}


async def test_a_request_whose_model_gets_no_memory_in_time_is_told_which_one_has_it(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0)
    gate = asyncio.Event()
    engines = []

    def make(artifact, settings):
        engines.append(FakeEngine(gate=gate))
        return engines[-1]

    async with serving(**one_at_a_time(make_engine=make, memory_wait=0.05)) as served, aiohttp.ClientSession(served.url) as client:
        busy = asyncio.create_task(client.post("/api/generate", json={"model": "a", "prompt": "x", "stream": False}))
        await until(lambda: bool(engines and engines[0].requests))
        async with client.post("/api/generate", json={"model": "b", "prompt": "x"}) as native:
            assert native.status == 503
            assert "b:latest could not be loaded within 0.05 seconds" in (await native.json(content_type=None))["error"]
            assert int(native.headers["Retry-After"]) > 0
        async with client.post("/v1/completions", json={"model": "b", "prompt": "x"}) as openai:
            assert openai.status == 429
        gate.set()
        assert (await busy).status == 200


async def test_a_model_that_does_not_fit_is_refused_in_ollamas_words():
    async with (
        serving(store=FakeStore("a:latest"), memory=1000) as served,
        aiohttp.ClientSession(served.url) as client,
        client.post("/api/generate", json={"model": "a", "prompt": "x"}) as answer,
    ):
        assert answer.status == 500
        assert (await answer.json(content_type=None))["error"].startswith("model requires more system memory (")


async def test_ps_tells_the_size_and_the_context_that_the_engine_reports():
    facts = replace(FACTS, memory_bytes=1234, vram_bytes=234, context_length=77)
    async with serving(FakeEngine(facts=facts)) as served, aiohttp.ClientSession(served.url) as client:
        await client.post("/api/generate", json={"model": "m", "keep_alive": "1h"})
        async with client.get("/api/ps") as answer:
            [shown] = (await answer.json(content_type=None))["models"]
    assert (shown["size"], shown["size_vram"], shown["context_length"]) == (1234, 234, 77)
    assert shown["details"]["context_length"] == 32768


async def test_loads_and_memory_are_metrics():
    async with serving(**one_at_a_time()) as served, aiohttp.ClientSession(served.url) as client:
        for name in ("a", "b", "a"):
            await client.post("/api/generate", json={"model": name})
        async with client.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'vllama_model_loads_total{model="a:latest"} 2.0' in lines
    assert 'vllama_model_loads_total{model="b:latest"} 1.0' in lines
    assert any(line.startswith("vllama_model_memory_bytes ") for line in lines)


@pytest.mark.parametrize("body", [{"prompt": "x", "stream": False}, {}], ids=["an answer", "only a load"])
async def test_a_larger_num_ctx_is_honoured_where_the_model_is_idle(body):
    def make(artifact, settings):
        return FakeEngine(facts=replace(FACTS, context_length=settings.ctx_size or 8192))

    async with serving(make_engine=make) as served, aiohttp.ClientSession(served.url) as client:
        await client.post("/api/generate", json={"model": "m"})
        async with client.post("/api/generate", json={"model": "m", "options": {"num_ctx": 20000}, **body}) as answer:
            assert answer.status == 200
            assert "X-Vllama-Ignored" not in answer.headers
        async with client.get("/api/ps") as answer:
            [shown] = (await answer.json(content_type=None))["models"]
    assert shown["context_length"] == 20000


def test_a_budget_that_was_said_is_firm_and_a_guess_is_not():
    assert budget_of(AgentConfig(memory=5, max_loaded=2), Surroundings()).firm
    guess = budget_of(AgentConfig(), Surroundings())
    assert not guess.firm
    assert guess.bytes is not None
    assert guess.bytes > 0


def test_a_machine_without_an_engine_of_its_own_choice_bounds_no_gpus():
    """As one that has vLLM and no GPU, whose models name it in their entries."""

    def accelerators(config, form):
        raise ConfigError("the llama.cpp engine is not installed")

    assert budget_of(AgentConfig(), Surroundings(accelerators=accelerators)).gpu is None


async def test_a_file_that_is_wrong_changes_nothing_and_is_told_in_the_log(tmp_path: Path, caplog):
    path = tmp_path / "vllama.yaml"
    path.write_text("models: [{model: {source: a}}]")
    async with serving(**one_at_a_time(config_file=path)) as served:
        await until(lambda: served.service.unready() is None)
        for text, told in (("models: 3", "models must be a list"), ("models: [{model: {source: nowhere}}]", "model 'nowhere' not found")):
            path.write_text(text)
            await reload(served.service, path)
            assert told in caplog.text
        path.unlink()
        await reload(served.service, path)
        assert "cannot be read" in caplog.text
        assert [resident.artifact.name for resident in served.service.pool.residents()] == ["a:latest"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/api/pull", {}),
        ("/api/show", {}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi-k2:cloud"])
async def test_a_name_of_ollamas_cloud_is_refused_with_the_reason(path, body, name):
    async with (
        serving(**one_at_a_time()) as served,
        aiohttp.ClientSession(served.url) as client,
        client.post(path, json={"model": name, "stream": False, **body}) as answer,
    ):
        assert answer.status == 404
        assert "runs in Ollama's cloud" in await answer.text()
