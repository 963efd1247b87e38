"""The clients that people use, unmodified, against the real server over a fake engine."""

import asyncio
from datetime import datetime

import ollama
import openai
import pytest

from vllama_agent.testing import FakeEngine, serving

TEXT = "The quick brown fox jumps over the lazy dog."
HI = [{"role": "user", "content": "hi"}]


async def test_ollama_chats_and_generates():
    async with serving() as served, ollama.AsyncClient(served.url) as client:
        whole = await client.chat(model="m", messages=HI)
        assert whole.message.content == TEXT
        assert whole.eval_count == 10
        pieces = [part async for part in await client.chat(model="m", messages=HI, stream=True)]
        assert "".join(part.message.content for part in pieces) == TEXT
        assert pieces[-1].done_reason == "stop"
        answer = await client.generate(model="m", prompt="hi", options={"num_predict": 2, "stop": ["zzz"]}, keep_alive="5m")
        assert answer.response == "The quick"
        assert answer.context


async def test_ollama_looks_around():
    async with serving() as served, ollama.AsyncClient(served.url) as client:
        (model,) = (await client.list()).models
        assert model.model == "m:latest"
        assert isinstance(model.modified_at, datetime)
        shown = await client.show("m")
        assert shown.modelinfo["general.architecture"] == "gemma3"
        assert shown.capabilities == ["completion"]
        await client.generate(model="m")
        (loaded,) = (await client.ps()).models
        assert isinstance(loaded.expires_at, datetime)
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            await client.chat(model="other", messages=HI)
        assert caught.value.status_code == 404


async def test_ollama_raises_the_error_of_a_broken_stream():
    async with serving(FakeEngine(crash_after=3)) as served, ollama.AsyncClient(served.url) as client:
        stream = await client.chat(model="m", messages=HI, stream=True)
        with pytest.raises(ollama.ResponseError, match="unexpectedly stopped"):
            _ = [part async for part in stream]


async def test_openai_chats_and_completes(tmp_path):
    (tmp_path / "keys").write_text("sk-one\n")
    async with serving(api_key_file=tmp_path / "keys") as served:
        async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="sk-one") as client:
            whole = await client.chat.completions.create(model="m", messages=HI, logprobs=True, top_logprobs=2, n=2)
            assert whole.choices[1].message.content == TEXT
            assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2
            stream = await client.chat.completions.create(model="m", messages=HI, stream=True, stream_options={"include_usage": True})
            parts = [part async for part in stream]
            assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == TEXT
            assert parts[-1].usage.completion_tokens == 10
            done = await client.completions.create(model="m", prompt="a", max_tokens=2, logprobs=1)
            assert done.choices[0].logprobs.text_offset == [0, 3]
            assert [model.id async for model in client.models.list()] == ["m:latest"]
            tools = [{"type": "function", "function": {"name": "f"}}]
            with pytest.raises(openai.BadRequestError, match="does not support tools"):
                await client.chat.completions.create(model="m", messages=HI, tools=tools, tool_choice="required")
        async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="sk-two", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()


async def test_openai_raises_the_error_of_a_broken_stream():
    async with serving(FakeEngine(crash_after=3)) as served, openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="x") as client:
        stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="unexpectedly stopped"):
            _ = [part async for part in stream]


async def test_forty_clients_that_vanish_leave_nothing_behind():
    engine = FakeEngine(gate=asyncio.Event())
    async with serving(engine) as served:
        async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="x", max_retries=0) as client:
            asking = [asyncio.create_task(client.chat.completions.create(model="m", messages=HI, stream=i % 2 == 0)) for i in range(40)]
            async with asyncio.timeout(10):
                while engine.running < 40:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        async with asyncio.timeout(10):
            while engine.running or served.service.admission.inflight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert engine.cancelled == 40
        assert engine.generated == 0
