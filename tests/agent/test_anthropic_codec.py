"""Anthropic's requests and replies, without a server."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse import named_frames

from vllama_agent.apis import anthropic, anthropic_replies, errors
from vllama_agent.apis.defaults import Defaults
from vllama_agent.chat.events import Call, Text, Thought
from vllama_agent.engines.base import Constraint, ConstraintKind, Delta, FinishReason, GenerateRequest, Message, Sampling, Usage
from vllama_core.errors import Busy, InvalidRequest, PromptTooLong

HI = [{"role": "user", "content": "hi"}]
BODY = {"model": "m", "max_tokens": 9, "messages": HI}
OBJECT = {"type": "json_schema", "schema": {"type": "object"}}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}


def request(**body: Any) -> GenerateRequest:
    return anthropic.messages({**BODY, **body}).request


def test_a_request() -> None:
    call = anthropic.messages(
        {**BODY, "system": "Be brief.", "temperature": 0.5, "top_p": 0.7, "top_k": 5, "stop_sequences": ["x", ""], "stream": True,
         "metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}}
    )  # fmt: skip
    assert call == anthropic.Call(
        model="m",
        request=GenerateRequest(
            messages=(Message(role="system", content="Be brief."), Message(role="user", content="hi")),
            sampling=Sampling(temperature=0.5, top_p=0.7, top_k=5),
            stop=("x",),
            max_tokens=9,
            think=False,
        ),
        stream=True,
        sequences=("x", ""),
        ignored=("service_tier",),
    )


def test_what_the_request_does_not_say_the_model_says() -> None:
    brought = Defaults(system="S", parameters={"temperature": 0.1, "stop": ["y"], "num_ctx": 99})
    made = anthropic.messages(BODY, brought).request
    assert (made.sampling.temperature, made.stop, made.num_ctx) == (0.1, ("y",), 99)
    assert made.messages is not None
    assert made.messages[0] == Message(role="system", content="S")
    assert anthropic.messages({**BODY, "stop_sequences": []}, brought).request.stop == ()


CALL = {"type": "function", "id": "t1", "function": {"name": "f", "arguments": {"a": 1}}}
TURNS = {
    "blocks of text are joined": (
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}]}],
        [Message(role="user", content="a\nb")],
    ),
    "a call and its result": (
        [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "…"},
                {"type": "text", "text": "Let me see."}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
                {"type": "text", "text": "So?"}]},
        ],
        [
            Message(role="assistant", content="Let me see.", extra={"thinking": "Hm", "tool_calls": [CALL]}),
            Message(role="tool", content="sun", extra={"tool_call_id": "t1", "tool_name": "f"}),
            Message(role="user", content="So?"),
        ],
    ),
    "a result without words, of a call that is not here": (
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9", "is_error": True}]}],
        [Message(role="tool", content="", extra={"tool_call_id": "t9"})],
    ),
    "a system message among the others": (
        [*HI, {"role": "system", "content": "Now shorter."}],
        [Message(role="user", content="hi"), Message(role="system", content="Now shorter.")],
    ),
    "an answer that is to be continued": (
        [*HI, {"role": "assistant", "content": "Well"}],
        [Message(role="user", content="hi"), Message(role="assistant", content="Well")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TURNS)
def test_turns(case: str) -> None:
    messages, expected = TURNS[case]
    assert list(request(messages=messages).messages or ()) == expected


def test_system_blocks_are_one_system_prompt() -> None:
    made = request(system=[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}])
    assert (made.messages or ())[0] == Message(role="system", content="a\nb")


@pytest.mark.parametrize(
    ("asked", "think"),
    [
        ({}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, False),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "max"),
    ],
    ids=str,
)
def test_thinking(asked: dict[str, Any], think: bool | str) -> None:
    assert request(**asked).think == think


@pytest.mark.parametrize(
    ("choice", "tools", "must_call", "parallel"),
    [
        (None, ["f"], (), True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["f"], (), False),
        ({"type": "any"}, ["f"], ("f",), True),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, ["f"], ("f",), False),
        ({"type": "none"}, [], (), True),
    ],
    ids=str,
)
def test_tools_and_their_choice(choice: Any, tools: list[str], must_call: tuple[str, ...], parallel: bool) -> None:
    made = request(tools=[TOOL], tool_choice=choice)
    assert [tool["function"]["name"] for tool in made.tools] == tools
    assert (made.must_call, made.parallel_calls) == (must_call, parallel)


def test_a_tools_schema_is_what_templates_read() -> None:
    assert request(tools=[TOOL]).tools == (
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": TOOL["input_schema"]}},
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"output_config": {"format": OBJECT}}, "output_config.format.schema"),
        ({"output_format": OBJECT}, "output_format.schema"),
        ({"output_config": {"format": OBJECT}, "output_format": {**OBJECT, "schema": {}}}, "output_config.format.schema"),
    ],
)
def test_a_schema_for_the_answer(asked: dict[str, Any], field: str) -> None:
    assert request(**asked).constraint == Constraint(kind=ConstraintKind.JSON_SCHEMA, text='{"type":"object"}', field=field)


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
WRONG = [
    ({"model": None}, "model"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [IMAGE]}]}]},
     "messages[0].content[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]}]},
     "messages[0].content[0].input"),
    ({"system": [IMAGE]}, "system[0].type"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"name": ""}]}, "tools[0].name"),
    ({"tools": [{"name": "f", "input_schema": []}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "one"}}, "tool_choice.type"),
    ({"thinking": {"type": "deeply"}}, "thinking.type"),
    ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
    ({"output_config": {"effort": "some"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type other than json_schema"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"output_format": {"type": "regex"}}, "output_format.type other than json_schema"),
    ({"temperature": -1}, "temperature"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"stream": "yes"}, "stream"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "field"), WRONG, ids=[field for _, field in WRONG])
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        anthropic.messages({**BODY, **changed})
    assert caught.value.field == field


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"]) | JSON
BLOCK = st.dictionaries(st.sampled_from(["text", "id", "name", "input", "tool_use_id", "content", "thinking", "is_error"]), JSON)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | JSON},
    optional={"content": st.lists(st.builds(lambda kind, rest: {"type": kind, **rest}, KINDS, BLOCK), max_size=3) | JSON},
)
FIELDS = ["system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences", "stream", "temperature", "top_k", "mcp_servers"]


@given(st.lists(TURN, max_size=3) | JSON, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_nothing_but_a_named_field_comes_of_any_json(messages: Any, rest: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        anthropic.messages({**BODY, "messages": messages, **rest})


# -- replies ----------------------------------------------------------------------------------------------------------------------------

USAGE = Usage(prompt_tokens=10, cached_tokens=4, generated_tokens=3)


def answered(*events: Any, finish: FinishReason = FinishReason.STOP, stop: str | None = None, **made: Any) -> tuple[Any, Any]:
    """A reply's frames, without those of its begin, and its whole."""
    reply = anthropic_replies.Reply("m", **{"max_tokens": 9, **made})
    begun = named_frames(reply.begin(10))
    assert [frame["type"] for frame in begun] == ["message_start", "ping"]
    assert begun[0]["message"]["content"] == []
    assert begun[0]["message"]["usage"]["input_tokens"] == 10
    data = b"".join(reply.add([event], 1) for event in events) + reply.end(Delta("", [], None, finish, USAGE, stop))
    return named_frames(data), json.loads(reply.whole())


def test_thoughts_words_and_calls_are_blocks_in_turn() -> None:
    found, whole = answered(Thought("Hm"), Thought("m."), Text("Let"), Text(" me."), Call("f", {"a": 1}), Call("g"))
    described = [
        (frame["type"], frame.get("index"), (frame.get("delta") or frame.get("content_block") or {}).get("type")) for frame in found
    ]
    assert described == [
        ("content_block_start", 0, "thinking"), ("content_block_delta", 0, "thinking_delta"), ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "signature_delta"), ("content_block_stop", 0, None),
        ("content_block_start", 1, "text"), ("content_block_delta", 1, "text_delta"), ("content_block_delta", 1, "text_delta"),
        ("content_block_stop", 1, None),
        ("content_block_start", 2, "tool_use"), ("content_block_delta", 2, "input_json_delta"), ("content_block_stop", 2, None),
        ("content_block_start", 3, "tool_use"), ("content_block_delta", 3, "input_json_delta"), ("content_block_stop", 3, None),
        ("message_delta", None, None), ("message_stop", None, None),
    ]  # fmt: skip
    assert found[10]["delta"]["partial_json"] == '{"a":1}'
    assert found[9]["content_block"]["input"] == {}
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert whole["content"][0] == {"type": "thinking", "thinking": "Hmm.", "signature": "unsigned"}
    assert whole["content"][1] == {"type": "text", "text": "Let me."}
    assert (whole["content"][2]["name"], whole["content"][2]["input"]) == ("f", {"a": 1})
    assert whole["stop_reason"] == "tool_use"


def test_usage_tells_what_was_reused_apart() -> None:
    found, whole = answered(Text("x"))
    assert whole["usage"] == found[-2]["usage"]
    assert whole["usage"] == {
        "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"finish": FinishReason.LENGTH, "max_tokens": 3}, "max_tokens", None),
        ({"finish": FinishReason.LENGTH}, "model_context_window_exceeded", None),
        ({"stop": "x", "sequences": ["x"]}, "stop_sequence", "x"),
        ({"stop": "y", "sequences": ["x"]}, "end_turn", None),
    ],
    ids=str,
)
def test_why_an_answer_ended(given: dict[str, Any], reason: str, sequence: str | None) -> None:
    found, whole = answered(Text("hi"), **given)
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    assert found[-2]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_thoughts_that_are_not_to_be_shown_leave_an_empty_block() -> None:
    found, whole = answered(Thought("secret"), Text("hi"), shows_thoughts=False)
    assert "secret" not in json.dumps([found, whole])
    assert whole["content"][0] == {"type": "thinking", "thinking": "", "signature": "unsigned"}


def test_errors() -> None:
    busy = errors.failure(Busy("full", retry_after=1))
    assert anthropic_replies.status(busy) == 529
    assert json.loads(anthropic_replies.error(busy))["error"] == {"type": "overloaded_error", "message": "full"}
    long = json.loads(anthropic_replies.error(errors.failure(PromptTooLong(prompt_tokens=9, context=8))))
    assert long["error"]["message"].startswith("prompt is too long: ")
    reply = anthropic_replies.Reply("m", max_tokens=1)
    [frame] = named_frames(reply.failed(busy))
    assert frame["error"]["type"] == "overloaded_error"
