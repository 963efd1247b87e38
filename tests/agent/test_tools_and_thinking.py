"""Tools and thinking over both families' routes: the clients that people use, against the real server over an engine with a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import chats
import ollama
import openai
import pytest

from vllama_agent.chat.events import Begun
from vllama_agent.engines.base import Reading
from vllama_agent.testing import FakeArtifact, FakeEngine, FakeStore, Served, serving

TEMPLATE = "{% if tools %}<tool_call></tool_call>{% endif %}</think>{{ messages }}"
"""Shows tools, and knows thoughts."""
CALLED = (
    "<think>", "Which", " day?", "</think>", "\n\n", "Let me", " look.", "\n", "<tool_call>", '{"name": "get_weather", "argu',
    'ments": {"city": "Zürich", "days": 1}}', "</tool_call>", "\n<tool_call>", '{"name": "add", "arguments": {}}\n', "</tool_call>",
)  # fmt: skip
ASKED = [chats.USER]
QWEN = Reading(family="qwen", thought="think")


def store(template: str | None = TEMPLATE) -> FakeStore:
    made = FakeStore()
    made.add(FakeArtifact(name="m:latest", digest="d" * 64, template=template))
    return made


@asynccontextmanager
async def scripted(*pieces: str, reading: Reading | None = QWEN, template: str | None = TEMPLATE) -> AsyncIterator[Served]:
    engine = FakeEngine(pieces=pieces or CALLED, reading=reading)
    async with serving(engine, store=store(template)) as served:
        yield served


@asynccontextmanager
async def openai_client(served: Served) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="x", max_retries=0) as client:
        yield client.chat.completions


# -- Ollama -----------------------------------------------------------------------------------------------------------------------------


async def test_ollama_gets_thought_words_and_calls_apart() -> None:
    async with scripted() as served, ollama.AsyncClient(served.url) as client:
        answer = await client.chat("m", ASKED, tools=chats.TOOLS, think=True)
    assert answer.message.thinking == "Which day?"
    assert answer.message.content == "Let me look."
    assert [(call.function.name, call.function.arguments) for call in answer.message.tool_calls] == [
        ("get_weather", {"city": "Zürich", "days": 1}),
        ("add", {}),
    ]
    assert answer.done_reason == "stop"
    [request] = served.engine.requests
    assert request.think is True
    assert [tool["function"]["name"] for tool in request.tools] == ["get_weather", "add"]


async def test_ollama_streams_them_in_turn() -> None:
    async with scripted() as served, ollama.AsyncClient(served.url) as client:
        pieces = [part.message async for part in await client.chat("m", ASKED, tools=chats.TOOLS, stream=True)]
    assert [piece.thinking for piece in pieces if piece.thinking] == ["Which", " day?"]
    assert "".join(piece.content for piece in pieces) == "Let me look."
    assert [call.function.name for piece in pieces for call in piece.tool_calls or ()] == ["get_weather", "add"]


async def test_an_ollama_call_has_an_id_an_index_and_an_object(http: aiohttp.ClientSession) -> None:
    body = {"model": "m", "messages": ASKED, "tools": chats.TOOLS}
    async with scripted() as served, http.post(served.url + "/api/chat", json=body) as response:
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [
        {"index": 0, "name": "get_weather", "arguments": {"city": "Zürich", "days": 1}},
        {"index": 1, "name": "add", "arguments": {}},
    ]
    assert all(call["id"].startswith("call_") and len(call["id"]) == 13 for call in calls)
    assert all("content" in line["message"] for line in lines)
    assert lines[-1]["done"] is True


async def test_a_single_prompt_is_thought_about_too() -> None:
    async with scripted("<think>", "Hm", "</think>", "\n\nYes") as served, ollama.AsyncClient(served.url) as client:
        answer = await client.generate("m", "Well?", think="low")
        assert (answer.thinking, answer.response) == ("Hm", "Yes")
        pieces = [part async for part in await client.generate("m", "Well?", stream=True)]
        assert [piece.thinking for piece in pieces if piece.thinking] == ["Hm"]
        assert "".join(piece.response for piece in pieces) == "Yes"
    assert [request.think for request in served.engine.requests] == ["low", None]


async def test_a_prompt_that_opened_a_thought_is_taken_as_read() -> None:
    reading = Reading(family="qwen", thought="think", begun=Begun.THOUGHT)
    async with scripted("Hm", "</think>Yes", reading=reading) as served, ollama.AsyncClient(served.url) as client:
        answer = await client.chat("m", ASKED)
    assert (answer.message.thinking, answer.message.content) == ("Hm", "Yes")


async def test_a_raw_prompt_is_answered_as_it_stands() -> None:
    async with scripted("<think>", "Hm") as served, ollama.AsyncClient(served.url) as client:
        assert (await client.generate("m", "Well?", raw=True)).response == "<think>Hm"


async def test_results_go_back_to_the_model() -> None:
    history = [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}]}]
    async with scripted("Three.") as served, ollama.AsyncClient(served.url) as client:
        await client.chat("m", [*history, {"role": "tool", "tool_name": "add", "content": "3"}], tools=chats.TOOLS)
    [request] = served.engine.requests
    assert request.messages[-1].extra == {"tool_name": "add"}
    assert request.messages[-2].extra["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tools": chats.TOOLS}, "m does not support tools"),
        ({"think": True}, '"m" does not support thinking'),
        ({"think": "high"}, "thinking"),
    ],
)
async def test_ollama_is_told_what_a_model_cannot_do(http: aiohttp.ClientSession, body: dict[str, Any], words: str) -> None:
    asked = {"model": "m", "messages": ASKED, **body}
    async with scripted(template=None) as served, http.post(served.url + "/api/chat", json=asked) as response:
        assert response.status == 400
        assert words in (await response.json())["error"]
        assert served.engine.loads == 0


async def test_not_to_think_can_be_asked_of_every_model() -> None:
    async with scripted("Yes", template=None, reading=None) as served, ollama.AsyncClient(served.url) as client:
        assert (await client.chat("m", ASKED, think=False)).message.content == "Yes"


async def test_what_a_model_can_do_is_shown() -> None:
    async with scripted() as served, ollama.AsyncClient(served.url) as client:
        assert set((await client.show("m")).capabilities) == {"completion", "thinking", "tools"}
        await client.generate("m")
        assert set((await client.show("m")).capabilities) == {"completion", "thinking", "tools"}


async def test_log_probabilities_of_thoughts_and_calls_are_all_told(http: aiohttp.ClientSession) -> None:
    body = {"model": "m", "messages": ASKED, "tools": chats.TOOLS, "logprobs": True}
    async with scripted() as served:
        async with http.post(served.url + "/api/chat", json=body) as response:
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
        async with http.post(served.url + "/v1/chat/completions", json=body | {"stream": True}) as response:
            found = [json.loads(frame[6:]) for frame in (await response.text()).split("\n\n") if frame.startswith("data: {")]
    assert tuple(item["token"] for line in lines for item in line.get("logprobs", ())) == CALLED
    choices = [choice for frame in found for choice in frame["choices"]]
    assert tuple(item["token"] for choice in choices for item in choice.get("logprobs", {}).get("content", ())) == CALLED


# -- OpenAI -----------------------------------------------------------------------------------------------------------------------------


async def test_openai_gets_thought_words_and_calls_apart() -> None:
    async with scripted() as served, openai_client(served) as client:
        answer = await client.create(model="m", messages=ASKED, tools=chats.TOOLS, tool_choice="auto", reasoning_effort="high")
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.reasoning, choice.message.reasoning_content, choice.message.content) == (
        "Which day?",
        "Which day?",
        "Let me look.",
    )
    assert [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls] == [
        ("get_weather", {"city": "Zürich", "days": 1}),
        ("add", {}),
    ]
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert served.engine.requests[0].think == "high"


async def test_openai_streams_calls_with_indices_and_ids() -> None:
    async with scripted() as served, openai_client(served) as client:
        stream = await client.create(model="m", messages=ASKED, tools=chats.TOOLS, stream=True)
        choices = [chunk.choices[0] async for chunk in stream]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert [(call.index, call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        (0, "get_weather", {"city": "Zürich", "days": 1}),
        (1, "add", {}),
    ]
    assert all(call.id and call.type == "function" for call in calls)
    assert choices[0].delta.role == "assistant"
    assert "".join(getattr(choice.delta, "reasoning", None) or "" for choice in choices) == "Which day?"
    assert "".join(choice.delta.content or "" for choice in choices) == "Let me look."
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]


async def test_openai_streams_several_answers_with_calls() -> None:
    """Each answer has indices of its own."""
    async with scripted() as served, openai_client(served) as client:
        stream = await client.create(model="m", messages=ASKED, tools=chats.TOOLS, stream=True, n=2)
        found = [(choice.index, call.index) async for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert sorted(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("stream", [True, False])
async def test_one_call_at_a_time_can_be_asked_for(stream: bool) -> None:
    async with scripted() as served, openai_client(served) as client:
        answer = await client.create(model="m", messages=ASKED, tools=chats.TOOLS, parallel_tool_calls=False, stream=stream)
        if stream:
            names = [call.function.name async for chunk in answer for call in chunk.choices[0].delta.tool_calls or ()]
        else:
            names = [call.function.name for call in answer.choices[0].message.tool_calls]
    assert names == ["get_weather"]


async def test_an_answer_of_calls_alone_has_no_content() -> None:
    async with scripted(*CALLED[8:]) as served, openai_client(served) as client:
        answer = await client.create(model="m", messages=ASKED, tools=chats.TOOLS)
    assert answer.choices[0].message.content is None


async def test_a_cut_answer_says_so_although_it_called() -> None:
    async with scripted() as served, openai_client(served) as client:
        answer = await client.create(model="m", messages=ASKED, tools=chats.TOOLS, max_completion_tokens=12)
    assert answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "length"


async def test_no_tools_are_offered_where_none_is_to_be_called() -> None:
    async with scripted("Hi") as served, openai_client(served) as client:
        await client.create(model="m", messages=ASKED, tools=chats.TOOLS, tool_choice="none")
    assert served.engine.requests[0].tools == ()


@pytest.mark.parametrize(
    ("asked", "think"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "medium"}}, "medium"),
        ({}, None),
    ],
)
async def test_efforts_are_levels_of_thinking(http: aiohttp.ClientSession, asked: dict[str, Any], think: Any) -> None:
    body = {"model": "m", "messages": ASKED, **asked}
    async with scripted("Hi") as served, http.post(served.url + "/v1/chat/completions", json=body) as response:
        assert response.status == 200
        assert served.engine.requests[0].think == think


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"tools": chats.TOOLS}, "tools", "does not support tools"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "does not support thinking"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tools": chats.TOOLS, "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice", '"sub"'),
        ({"tools": chats.TOOLS, "tool_choice": {"type": "function"}}, "tool_choice", "by its name"),
        (
            {"tools": chats.TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [1]}}},
            "tool_choice",
            "functions by their names",
        ),
        ({"tools": chats.TOOLS, "tool_choice": "any"}, "tool_choice", '"any"'),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "must be an object"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name", "is required"),
        ({"tools": [{"type": "browser", "function": {"name": "f"}}]}, "tools[0].type", "browser"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters", "an object"),
        ({"tools": {}}, "tools", "must be an array"),
        ({"tools": chats.TOOLS * 513}, "tools", "at most 1024"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "a boolean"),
    ],
)
async def test_openai_is_told_what_is_wrong(http: aiohttp.ClientSession, body: dict[str, Any], param: str, words: str) -> None:
    asked = {"model": "m", "messages": ASKED, **body}
    async with scripted(template=None) as served, http.post(served.url + "/v1/chat/completions", json=asked) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["param"] == param
    assert words in error["message"]


ADD = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("choice", "shown", "must_call"),
    [
        ("required", ["get_weather", "add"], ("get_weather", "add")),
        (ADD, ["get_weather", "add"], ("add",)),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [ADD]}}, ["add"], ()),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ADD]}}, ["add"], ("add",)),
    ],
    ids=str,
)
async def test_a_call_can_be_demanded(choice: Any, shown: list[str], must_call: tuple[str, ...]) -> None:
    async with scripted() as served, openai_client(served) as client:
        await client.create(model="m", messages=ASKED, tools=chats.TOOLS, tool_choice=choice)
    [request] = served.engine.requests
    assert [tool["function"]["name"] for tool in request.tools] == shown
    assert request.must_call == must_call


async def test_words_that_are_held_to_a_format_are_not_looked_at_for_markup(http: aiohttp.ClientSession) -> None:
    """A string of the answer may hold what would be a call elsewhere."""
    words = '{"a": "<tool_call>{\\"name\\": \\"add\\", \\"arguments\\": {}}</tool_call>"}'
    reading = Reading(family="qwen", thought="think", verbatim=True)
    asked = {"model": "m", "messages": ASKED, "tools": chats.TOOLS, "response_format": {"type": "json_object"}}
    async with (
        scripted("<think>", "Hm", "</think>", *words, reading=reading) as served,
        http.post(served.url + "/v1/chat/completions", json=asked) as response,
    ):
        message = (await response.json())["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Hm", words)
    assert served.engine.requests[0].think is None


async def test_what_tools_are_made_of_reaches_the_template_in_order() -> None:
    tool = {"type": "function", "function": {"description": "d", "name": "f", "strict": True, "parameters": {"required": [], "title": "t"}}}
    async with scripted("Hi") as served, openai_client(served) as client:
        await client.create(model="m", messages=ASKED, tools=[tool])
    [made] = served.engine.requests[0].tools
    assert list(made["function"]) == ["description", "name", "strict", "parameters"]
    assert made["function"]["parameters"] == {"required": [], "title": "t", "type": "object", "properties": {}}
