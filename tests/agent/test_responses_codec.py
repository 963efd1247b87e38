"""Requests and replies of OpenAI's Responses, without a server."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sse import named_frames

from vllama_agent.apis import errors, responses, responses_replies
from vllama_agent.chat.events import Call, Text, Thought
from vllama_agent.engines.base import Constraint, ConstraintKind, Delta, FinishReason, GenerateRequest, Message, Sampling, Usage
from vllama_core.errors import EngineFailed, InvalidRequest

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
BODY: dict[str, Any] = {"model": "m", "input": "hi"}
CALL = {"type": "function", "id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}


def test_a_request() -> None:
    body = {**BODY, "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "stream": True, "reasoning": {"effort": "low"}}
    call = responses.create(body)
    assert call == responses.Call(
        model="m",
        request=GenerateRequest(
            messages=(Message(role="system", content="Be brief."), Message(role="user", content="hi")),
            sampling=Sampling(temperature=0.5, top_p=1.0),
            max_tokens=9,
            think="low",
        ),
        turns=(Message(role="user", content="hi"),),
        stream=True,
        keep=False,
        echo={"instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "reasoning": {"effort": "low"}},
    )


ITEMS = {
    "messages of every role": (
        [{"role": "developer", "content": "s"}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
         {"role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}],
        [Message(role="system", content="s"), Message(role="user", content="u"), Message(role="assistant", content="ab")],
    ),
    "a thought, words and calls are one turn": (
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}, {"role": "assistant", "content": "Let me see."},
         {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
         {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sun"}]}],
        [Message(role="assistant", content="Let me see.", extra={"thinking": "Hm", "tool_calls": [CALL]}),
         Message(role="tool", content="sun", extra={"tool_call_id": "c1", "tool_name": "f"})],
    ),
    "two answers in a row are two turns": (
        [{"role": "assistant", "content": "a"}, {"type": "reasoning", "summary": [], "encrypted_content": "…"},
         {"role": "assistant", "content": "b"}],
        [Message(role="assistant", content="a"), Message(role="assistant", content="b")],
    ),
    "a result of a call that is not here": (
        [{"type": "function_call_output", "call_id": "c9", "output": ""}],
        [Message(role="tool", content="", extra={"tool_call_id": "c9"})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ITEMS)
def test_items(case: str) -> None:
    items, expected = ITEMS[case]
    assert list(responses.create({**BODY, "input": items}).turns) == expected


def test_tools_and_their_choice() -> None:
    call = responses.create({**BODY, "tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "function", "name": "f"},
                             "parallel_tool_calls": False})  # fmt: skip
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    assert call.request.tools == ({"type": "function", "function": function},)
    assert (call.request.must_call, call.request.parallel_calls) == (("f",), False)
    assert call.ignored == ("web_search",)
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    assert responses.create({**BODY, "tools": [TOOL], "tool_choice": allowed}).request.must_call == ("f",)


@pytest.mark.parametrize(
    ("asked", "constraint"),
    [
        ({"type": "text"}, None),
        (None, None),
        ({"type": "json_object"}, Constraint(kind=ConstraintKind.JSON_OBJECT, field="text.format")),
        (
            {"type": "json_schema", "name": "n", "strict": True, "schema": {"type": "object"}},
            Constraint(kind=ConstraintKind.JSON_SCHEMA, text='{"type":"object"}', field="text.format.schema"),
        ),
    ],
    ids=str,
)
def test_a_format(asked: Any, constraint: Constraint | None) -> None:
    assert responses.create({**BODY, "text": {"format": asked}}).request.constraint == constraint


def test_a_response_is_gone_on_from_without_its_instructions() -> None:
    before = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    call = responses.create({**BODY, "previous_response_id": "r", "instructions": "S"}, earlier={"r": before}.__getitem__)
    assert call.turns == (*before, Message(role="user", content="hi"))
    assert call.request.messages == (Message(role="system", content="S"), *call.turns)
    assert call.keep


def test_what_is_not_to_be_kept_is_not() -> None:
    assert not responses.create({**BODY, "store": False}, earlier={}.__getitem__).keep
    assert responses.create({**BODY, "store": True}).ignored == ("store",)


WRONG = [
    ({"model": ""}, "model"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 3}, "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
    ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [TOOL | {"parameters": []}]}, "tools[0].parameters"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
    ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
    ({"truncation": "some"}, "truncation"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"previous_response_id": "r"}, "previous_response_id"),
    ({"conversation": "c"}, "conversation"),
    ({"background": True}, "background"),
    ({"top_logprobs": 2}, "top_logprobs"),
]


@pytest.mark.parametrize(("changed", "field"), WRONG, ids=[field for _, field in WRONG])
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.create({**BODY, **changed})
    assert caught.value.field == field


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ITEM = st.dictionaries(st.sampled_from(["role", "content", "call_id", "name", "arguments", "output", "summary"]), JSON)
KIND = st.sampled_from(["message", "reasoning", "function_call", "function_call_output"]) | JSON
FIELDS = [
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "truncation",
    "store",
    "stream",
    "temperature",
    "previous_response_id",
    "conversation",
]


@given(
    st.lists(st.builds(lambda kind, rest: {"type": kind, **rest}, KIND, ITEM), max_size=3) | JSON,
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
)
def test_nothing_but_a_named_field_comes_of_any_json(asked: Any, rest: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        responses.create({**BODY, "input": asked, **rest})


# -- replies ----------------------------------------------------------------------------------------------------------------------------

USAGE = Usage(prompt_tokens=10, cached_tokens=4, generated_tokens=3)


def test_thoughts_words_and_calls_are_items_in_turn() -> None:
    reply = responses_replies.Reply("m", echo={"temperature": 0.5}, kept=True)
    data = reply.begin(10)
    for event in (Thought("H"), Thought("m"), Text("Let"), Text(" me."), Call("f", {"a": 1})):
        data += reply.add([event], 2)
    found = named_frames(data + reply.end(Delta("", [], None, FinishReason.STOP, USAGE)))
    assert [frame["type"].removeprefix("response.") for frame in found] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [frame["sequence_number"] for frame in found] == list(range(len(found)))
    assert [frame["output_index"] for frame in found if frame["type"] == "response.output_item.done"] == [0, 1, 2]
    assert found[0]["response"]["output"] == []
    whole = json.loads(reply.whole())
    assert found[-1]["response"] == whole
    thought, message, call = whole["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert message["content"] == [{"type": "output_text", "text": "Let me.", "annotations": [], "logprobs": []}]
    assert (call["name"], call["arguments"]) == ("f", '{"a":1}')
    assert (whole["status"], whole["store"], whole["temperature"], whole["truncation"]) == ("completed", True, 0.5, "disabled")
    assert whole["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 13,
    }
    calls = [{"type": "function", "id": call["call_id"], "function": {"name": "f", "arguments": {"a": 1}}}]
    assert reply.turn() == Message(role="assistant", content="Let me.", extra={"thinking": "Hm", "tool_calls": calls})


def test_a_cut_answer_is_incomplete() -> None:
    reply = responses_replies.Reply("m", echo={}, kept=False)
    reply.begin(1)
    reply.add([Text("x")], 1)
    found = named_frames(reply.end(Delta("", [], None, FinishReason.LENGTH, USAGE)))
    assert found[-1]["type"] == "response.incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_error_in_mid_stream_fails_the_response() -> None:
    reply = responses_replies.Reply("m", echo={}, kept=False)
    [frame] = named_frames(reply.failed(errors.failure(EngineFailed("it died"))))
    assert (frame["type"], frame["response"]["status"]) == ("response.failed", "failed")
    assert "it died" in frame["response"]["error"]["message"]
