"""OpenAI's own client at the Responses of the real server, over an engine with a script; and the responses that are kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from backports import zstd

from vllama_agent.apis.errors import NotFound
from vllama_agent.engines.base import Message, Reading
from vllama_agent.server.kept_responses import Kept, KeptResponses
from vllama_agent.testing import FakeArtifact, FakeEngine, FakeStore, Served, serving

TEMPLATE = "{% if tools %}<tool_call></tool_call>{% endif %}</think>{{ messages }}"
PIECES = ("<think>", "Which", " day?", "</think>", "\n\n", "Let me", " look.", "\n", "<tool_call>", '{"name": "f", "arguments": {"a": 1}}',
          "</tool_call>")  # fmt: skip
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}, "strict": False}


@asynccontextmanager
async def client(*pieces: str, key: str = "alpha", engine: FakeEngine | None = None, **settings: Any) -> AsyncIterator[tuple[Any, Served]]:
    store = FakeStore()
    store.add(FakeArtifact(name="m:latest", digest="d" * 64, template=TEMPLATE))
    used = engine or FakeEngine(pieces=pieces or PIECES, reading=Reading(family="qwen", thought="think"))
    async with (
        serving(used, store=store, **settings) as served,
        openai.AsyncOpenAI(base_url=served.url + "/v1", api_key=key, max_retries=0) as made,
    ):
        yield made.responses, served


async def test_an_answer_with_a_thought_words_and_a_call() -> None:
    async with client() as (responses, served):
        answer = await responses.create(model="m", input="How is the weather?", tools=[TOOL], reasoning={"effort": "high"})
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert answer.output[0].summary[0].text == "Which day?"
    assert answer.output_text == "Let me look."
    assert json.loads(answer.output[2].arguments) == {"a": 1}
    assert answer.status == "completed"
    assert answer.usage.output_tokens == len(PIECES)
    [request] = served.engine.requests
    assert request.think == "high"


async def test_the_stream_adds_up_to_the_same() -> None:
    async with client() as (responses, _), responses.stream(model="m", input="Well?", tools=[TOOL]) as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert answer.output_text == "Let me look."
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]


async def test_a_conversation_goes_on_by_its_items() -> None:
    async with client() as (responses, served):
        first = await responses.create(model="m", input="Well?", tools=[TOOL])
        result = {"type": "function_call_output", "call_id": first.output[2].call_id, "output": "sunny"}
        asked = [{"role": "user", "content": "Well?"}, *[item.model_dump() for item in first.output], result]
        await responses.create(model="m", input=asked, tools=[TOOL])
    turns = served.engine.requests[-1].messages
    assert turns is not None
    assert turns[1].extra["thinking"] == "Which day?"
    assert turns[1].extra["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert (turns[2].role, turns[2].extra["tool_name"]) == ("tool", "f")


async def test_without_a_store_a_response_cannot_be_gone_on_from() -> None:
    async with client() as (responses, _):
        answer = await responses.with_raw_response.create(model="m", input="Well?", store=True)
        assert answer.headers["X-Vllama-Ignored"] == "store"
        made = answer.parse()
        assert made.store is False
        with pytest.raises(openai.BadRequestError, match="--keep-responses"):
            await responses.create(model="m", input="And?", previous_response_id=made.id)
        with pytest.raises(openai.NotFoundError, match="--keep-responses"):
            await responses.retrieve(made.id)


async def test_with_a_store_it_can_by_whoever_had_it_made(tmp_path) -> None:
    (tmp_path / "keys").write_text("alpha\nbeta\n")
    async with client("Hello", responses_kept=2, api_key_file=tmp_path / "keys") as (responses, served):
        first = await responses.create(model="m", input="Hi", instructions="Be brief.")
        async with responses.stream(model="m", input="And?", previous_response_id=first.id) as stream:
            second = await stream.get_final_response()
        said = [(turn.role, turn.content) for turn in served.engine.requests[-1].messages or ()]
        assert said == [("user", "Hi"), ("assistant", "Hello"), ("user", "And?")]
        assert (await responses.retrieve(second.id)).output_text == "Hello"
        async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="beta", max_retries=0) as stranger:
            with pytest.raises(openai.NotFoundError):
                await stranger.responses.retrieve(first.id)
            with pytest.raises(openai.BadRequestError, match="no such response"):
                await stranger.responses.create(model="m", input="And?", previous_response_id=first.id)
        unkept = await responses.create(model="m", input="Hi", store=False)
        with pytest.raises(openai.NotFoundError):
            await responses.retrieve(unkept.id)
        await responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            await responses.retrieve(second.id)


async def test_an_error_in_mid_stream_is_a_failed_response(http: aiohttp.ClientSession) -> None:
    body = {"model": "m", "input": "Hi", "stream": True}
    async with client(engine=FakeEngine(crash_after=3)) as (_, served), http.post(served.url + "/v1/responses", json=body) as response:
        *_, last = [line for line in (await response.text()).splitlines() if line.startswith("data: ")]
    failed = json.loads(last.removeprefix("data: "))
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["message"].startswith("model runner has unexpectedly stopped")


async def test_a_body_may_be_compressed_by_zstd(http: aiohttp.ClientSession) -> None:
    packed = zstd.compress(json.dumps({"model": "m", "input": "Hi"}).encode())
    headers = {"Content-Encoding": "zstd", "Content-Type": "application/json"}
    async with client("Hello") as (_, served):
        async with http.post(served.url + "/v1/responses", data=packed, headers=headers) as response:
            assert (await response.json())["status"] == "completed"
        async with http.post(served.url + "/v1/responses", data=packed[:-4], headers=headers) as response:
            assert response.status == 400
        async with http.post(served.url + "/v1/responses", data=b"no zstd at all", headers=headers) as response:
            assert response.status == 400


async def test_a_body_that_unpacks_to_more_than_the_limit_is_refused(http: aiohttp.ClientSession) -> None:
    bomb = zstd.compress(b'{"model": "m", "input": "' + b" " * (1 << 22) + b'"}')
    assert len(bomb) < 4096
    async with (
        client("Hello", max_body_bytes=1 << 16) as (_, served),
        http.post(served.url + "/v1/responses", data=bomb, headers={"Content-Encoding": "zstd"}) as response,
    ):
        assert response.status == 413


def kept(owner: bytes, size: int = 10) -> Kept:
    return Kept(owner, b"x" * size, (Message(role="user", content=""),))


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_large() -> None:
    store = KeptResponses(2, most_bytes=100)
    for name in "abc":
        store.put(name, kept(b"o"))
    with pytest.raises(NotFound):
        store.get("a", b"o")
    store.get("b", b"o")
    store.put("d", kept(b"o"))  # b was used since c came
    with pytest.raises(NotFound):
        store.get("c", b"o")
    store.put("large", kept(b"o", 99))
    with pytest.raises(NotFound):
        store.get("b", b"o")


def test_what_is_deleted_makes_room() -> None:
    store = KeptResponses(9, most_bytes=40)
    store.put("a", kept(b"o", 30))
    store.delete("a", b"o")
    store.put("b", kept(b"o", 30))
    assert store.get("b", b"o").body
