"""OpenAI's requests and replies, without a server."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.apis import errors, openai, openai_replies
from vllama_agent.apis.openai_replies import Choice
from vllama_agent.engines.base import Constraint, ConstraintKind, FinishReason, GenerateRequest, Message, Sampling, TokenLogprob, Usage
from vllama_core.errors import Busy, EngineFailed, InvalidRequest, ModelNotFound, NotYet, PromptTooLong

HI = [{"role": "user", "content": "hi"}]
PLAIN = Sampling(temperature=1.0, top_p=1.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = [
    "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "stop",
    "seed", "temperature", "top_p", "top_k", "logprobs", "top_logprobs", "logit_bias", "presence_penalty",
    "frequency_penalty", "response_format", "tools", "functions", "tool_choice", "suffix", "echo", "best_of", "user",
    "reasoning", "reasoning_effort", "modalities", "repetition_penalty", "min_p"
]  # fmt: skip
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]) | JSON}, optional={"text": JSON})
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool", "x"]) | JSON}, optional={"content": st.lists(PART) | JSON, "tool_calls": JSON}
)


def test_chat():
    call = openai.chat(
        {
            **{"model": "M", "messages": HI, "stream": True, "stream_options": {"include_usage": True}, "n": 2, "seed": 7},
            **{"max_tokens": 9, "max_completion_tokens": 5, "stop": "x", "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": 1}},
            **{"user": "u", "response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "reasoning_effort": None},
        }
    )
    request = GenerateRequest(
        messages=(Message(role="user", content="hi"),),
        sampling=Sampling(temperature=1.0, top_p=1.0, seed=7, logit_bias=((5, 1.0),)),
        stop=("x",),
        max_tokens=5,
        logprobs=True,
        top_logprobs=3,
    )
    assert call == openai.Call(model="M", requests=(request,), n=2, stream=True, include_usage=True)


def test_a_tools_answer_learns_its_name_from_the_call():
    turns = (
        openai.chat(
            {
                "model": "M",
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "su"}, {"type": "text", "text": "n"}]},
                ],
            }
        )
        .requests[0]
        .messages
    )
    assert turns is not None
    assert turns[1] == Message(role="tool", content="sun", extra={"tool_call_id": "c1", "tool_name": "f"})


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [{"prompt": "a"}]),
        (["a", "b"], [{"prompt": "a"}, {"prompt": "b"}]),
        ([1, 2], [{"prompt_tokens": (1, 2)}]),
        ([[1], [2, 3]], [{"prompt_tokens": (1,)}, {"prompt_tokens": (2, 3)}]),
    ],
)
def test_completions_prompts(prompt, expected):
    call = openai.completions({"model": "M", "prompt": prompt})
    assert call.requests == tuple(GenerateRequest(sampling=PLAIN, **wanted) for wanted in expected)
    assert call.alternatives is None


def test_completions_logprobs_are_a_number():
    call = openai.completions({"model": "M", "prompt": "a", "logprobs": 0})
    assert (call.alternatives, call.requests[0].logprobs, call.requests[0].top_logprobs) == (0, True, 0)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "messages[0].content[0].type"),
        ({"model": ""}, "model"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"stop": 3}, "stop"),
        ({"stream_options": 3}, "stream_options"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"reasoning_effort": "some"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "strict": "yes"}}}, "strict"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_chat_refuses(extra, field):
    with pytest.raises(InvalidRequest) as caught:
        openai.chat({"model": "M", "messages": HI, **extra})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"seed": 10**30}, "seed must be an integer from -9223372036854775808 to 18446744073709551616, not"),
        ({"top_k": 2**40}, "top_k must be an integer from -1 to 2147483647, not"),
        ({"temperature": -1}, "temperature must be a number of at least 0, not"),
    ],
)
def test_a_number_out_of_range_is_told_the_range_that_it_is_out_of(extra, told):
    with pytest.raises(InvalidRequest, match=told):
        openai.chat({"model": "M", "messages": HI, **extra})


def test_a_response_format_is_text_an_object_or_a_schema():
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    named = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    found = [
        openai.chat({"model": "M", "messages": HI, "response_format": one}) for one in ({"type": "text"}, {"type": "json_object"}, named)
    ]
    assert [call.requests[0].constraint for call in found] == [
        None,
        Constraint(kind=ConstraintKind.JSON_OBJECT, field="response_format"),
        Constraint(
            kind=ConstraintKind.JSON_SCHEMA,
            text='{"type":"object","properties":{"b":{},"a":{}}}',
            field="response_format.json_schema.schema",
        ),
    ]


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"functions": [{}]}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
    ],
)
def test_chat_says_not_yet(extra, field):
    with pytest.raises(NotYet, match="not yet") as caught:
        openai.chat({"model": "M", "messages": HI, **extra})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": {}}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": [1], "suffix": "x"}, "suffix"),
        ({"prompt": ["a"] * 100, "n": 2}, "n"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_completions_refuses(extra, field):
    with pytest.raises(InvalidRequest) as caught:
        openai.completions({"model": "M", "prompt": "a", **extra})
    assert caught.value.field == field


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(TURN, max_size=3)), st.sampled_from([openai.chat, openai.completions]))
def test_any_object_is_a_call_or_an_invalid_request(body, parse):
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse({"model": "M", **body}), openai.Call)


def frame(data):
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    return json.loads(data[6:])


def test_a_chat_stream():
    reply = openai_replies.Reply("M", chat=True)
    first, second = frame(reply.piece(0, "a\n")), frame(reply.piece(0, "b"))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": "a\n"}, "finish_reason": None}]
    assert second["choices"] == [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]
    assert frame(reply.finish(0, FinishReason.LENGTH))["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert first["created"] == second["created"]
    assert first["id"].startswith("chatcmpl-")
    assert "usage" not in first


def test_a_choice_without_text_still_opens_with_its_role():
    opening, end, _ = openai_replies.Reply("M", chat=True).finish(1, FinishReason.STOP).split(b"\n\n")
    assert json.loads(opening[6:])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert json.loads(end[6:])["choices"][0]["finish_reason"] == "stop"


def test_usage_counts_each_prompt_once():
    usage = Usage(prompt_tokens=5, cached_tokens=1, generated_tokens=2)
    choices = [Choice(prompt, usage=usage, finish=FinishReason.STOP) for prompt in (0, 0, 1, 1)]
    value = frame(openai_replies.Reply("M", chat=False, include_usage=True).usage(choices))
    assert value["choices"] == []
    assert value["usage"] == {
        **{"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18},
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_completions_logprobs_form():
    reply = openai_replies.Reply("M", chat=False, alternatives=1)
    token = TokenLogprob("ab", b"ab", -0.5, (TokenLogprob("x", b"x", -1.0),))
    choice = Choice(0)
    first = frame(reply.piece_with_logprobs(0, choice, "ab", [token]))
    second = frame(reply.piece_with_logprobs(0, choice, "ab", [token]))
    assert first["choices"][0]["logprobs"] == {
        "tokens": ["ab"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"x": -1.0}],
        "text_offset": [0],
    }
    assert second["choices"][0]["logprobs"]["text_offset"] == [2]


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "param"),
    [
        (InvalidRequest("x", field="n"), 400, "invalid_request_error", None, "n"),
        (PromptTooLong(prompt_tokens=9, context=4), 400, "invalid_request_error", "context_length_exceeded", "prompt"),
        (ModelNotFound("x"), 404, "not_found_error", "model_not_found", "model"),
        (errors.Unauthorized("x"), 401, "invalid_request_error", "invalid_api_key", None),
        (Busy("x"), 429, "rate_limit_error", "rate_limit_exceeded", None),
        (errors.NotHere("x"), 501, "api_error", "not_yet_supported", None),
        (EngineFailed("x"), 500, "api_error", "engine_failed", None),
        (ValueError("secret"), 500, "api_error", None, None),
    ],
)
def test_errors(error, status, type_, code, param):
    failure = errors.failure(error)
    body = json.loads(openai_replies.error(failure))["error"]
    assert openai_replies.status(failure) == status
    assert (body["type"], body["code"], body["param"]) == (type_, code, param)
    assert "secret" not in body["message"]
    assert openai_replies.error_frames(failure).endswith(b"\n\ndata: [DONE]\n\n")


@given(st.text(), st.booleans())
def test_every_text_survives_a_stream(text, chat):
    reply = openai_replies.Reply("M", chat=chat)
    for data in (reply.piece(0, text), reply.piece(0, text)):
        choice = frame(data)["choices"][0]
        assert (choice["delta"]["content"] if chat else choice["text"]) == text
