"""Anthropic's own client against the real server over an engine with a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anthropic
import pytest

from vllama_agent.engines.base import Reading
from vllama_agent.server import single
from vllama_agent.testing import FACTS, FakeArtifact, FakeEngine, FakeStore, Served, serving

TEMPLATE = "{% if tools %}<tool_call></tool_call>{% endif %}</think>{{ messages }}"
PIECES = (
    "<think>", "Which", " day?", "</think>", "\n\n", "Let me", " look.", "\n", "<tool_call>", '{"name": "get_weather", "argu',
    'ments": {"city": "Zürich"}}', "</tool_call>",
)  # fmt: skip
TOOLS = [{"name": "get_weather", "description": "d", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
ASK: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "How is the weather?"}]}


@asynccontextmanager
async def client(*pieces: str, engine: FakeEngine | None = None, **settings: Any) -> AsyncIterator[tuple[Any, Served]]:
    store = FakeStore()
    store.add(FakeArtifact(name="m:latest", digest="d" * 64, template=TEMPLATE))
    used = engine or FakeEngine(pieces=pieces or PIECES, reading=Reading(family="qwen", thought="think"))
    async with (
        serving(used, store=store, **settings) as served,
        anthropic.AsyncAnthropic(base_url=served.url, api_key="alpha", max_retries=0) as made,
    ):
        yield made.messages, served


async def whole(messages: Any) -> Any:
    return await messages.create(**ASK | {"max_tokens": len(PIECES)}, tools=TOOLS, thinking={"type": "enabled", "budget_tokens": 1024})


async def test_an_answer_with_a_thought_words_and_a_call() -> None:
    async with client() as (messages, served):
        answer = await whole(messages)
    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.content[0].thinking == "Which day?"
    assert answer.content[1].text == "Let me look."
    assert (answer.content[2].name, answer.content[2].input) == ("get_weather", {"city": "Zürich"})
    assert answer.content[2].id.startswith("toolu_")
    assert answer.usage.output_tokens == len(PIECES)
    [request] = served.engine.requests
    assert request.think is True
    assert [tool["function"]["name"] for tool in request.tools] == ["get_weather"]


async def test_the_stream_adds_up_to_the_same() -> None:
    async with client() as (messages, _):
        answer = await whole(messages)
        async with messages.stream(
            **ASK | {"max_tokens": len(PIECES)}, tools=TOOLS, thinking={"type": "enabled", "budget_tokens": 1024}
        ) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    ours = {"id", "content"}
    assert streamed.model_dump(exclude=ours) == answer.model_dump(exclude=ours)
    assert [block.model_dump(exclude={"id"}) for block in streamed.content] == [
        block.model_dump(exclude={"id"}) for block in answer.content
    ]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


async def test_a_call_and_its_result_go_back() -> None:
    async with client() as (messages, served):
        answer = await whole(messages)
        result = {"type": "tool_result", "tool_use_id": answer.content[2].id, "content": "sunny"}
        history = [*ASK["messages"], {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        await messages.create(**ASK | {"messages": history}, tools=TOOLS)
    turns = served.engine.requests[-1].messages
    assert turns is not None
    assert turns[1].extra["thinking"] == "Which day?"
    assert turns[1].extra["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": {"city": "Zürich"}}
    assert (turns[2].role, turns[2].content, turns[2].extra["tool_name"]) == ("tool", "sunny", "get_weather")


async def test_a_stop_sequence_is_named() -> None:
    async with client("one", " two", " three") as (messages, _):
        answer = await messages.create(**ASK, stop_sequences=["thr"])
        assert (answer.content[0].text, answer.stop_reason, answer.stop_sequence) == ("one two ", "stop_sequence", "thr")


async def test_tokens_of_a_prompt_are_counted_without_running_it() -> None:
    async with client() as (messages, served):
        counted = await messages.count_tokens(model="m", messages=ASK["messages"], system="Be brief.")
        assert served.engine.requests == []
        answer = await messages.create(**ASK, system="Be brief.")
        assert counted.input_tokens == answer.usage.input_tokens


async def test_a_model_that_does_not_think_just_answers() -> None:
    store = FakeStore("m:latest")
    engine = FakeEngine()
    async with serving(engine, store=store) as served, anthropic.AsyncAnthropic(base_url=served.url, api_key="x") as made:
        answer = await made.messages.with_raw_response.create(**ASK, thinking={"type": "adaptive"})
    assert answer.headers["X-Vllama-Ignored"] == "thinking"
    assert engine.requests[0].think is None


async def test_errors_have_the_familys_shape_and_types(tmp_path) -> None:
    (tmp_path / "keys").write_text("alpha\n")
    small = FakeEngine(facts=replace(FACTS, context_length=8))
    async with client(engine=small, api_key_file=tmp_path / "keys") as (messages, served):
        with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
            await messages.create(**ASK | {"model": "none"})
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long: "):
            await messages.create(**ASK)
        with pytest.raises(anthropic.BadRequestError, match="images are not yet supported"):
            await messages.create(**ASK | {"messages": [{"role": "user", "content": [IMAGE]}]})
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="beta", max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(**ASK)


async def test_an_error_in_mid_stream_is_an_event() -> None:
    async with client(engine=FakeEngine(crash_after=3)) as (messages, _):
        stream = await messages.create(**ASK, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="model runner has unexpectedly stopped"):
            await consume(stream)


async def consume(stream: Any) -> None:
    async for _ in stream:
        continue


class Heard:
    """What `single.pinging` needs of a sender."""

    def __init__(self) -> None:
        self.last_sent = asyncio.get_running_loop().time()
        self.sent: list[bytes] = []
        self.arrived = asyncio.Event()

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.last_sent = asyncio.get_running_loop().time()
        self.arrived.set()


class Pings:
    def ping(self) -> bytes:
        return b"ping"


async def test_a_silent_stream_is_kept_alive_until_its_end() -> None:
    sender: Any = Heard()
    reply: Any = Pings()
    async with asyncio.timeout(10), single.pinging(sender, reply, seconds=0.001):
        for _ in range(3):
            await sender.arrived.wait()
            sender.arrived.clear()
    assert sender.sent[:3] == [b"ping"] * 3
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "ping"]
