"""Ollama's requests and replies, without a server."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.apis import clock, fields, ollama, ollama_replies
from vllama_agent.engines.base import Constraint, ConstraintKind, FinishReason, GenerateRequest, Message, Sampling, TokenLogprob, Usage
from vllama_core.errors import InvalidRequest, NotYet

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TURN = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "SYSTEM", "tool", "x"]) | JSON, "content": JSON, "tool_calls": JSON, "images": JSON}
)
FIELDS = [
    "model", "prompt", "suffix", "system", "template", "context", "stream", "raw", "format", "keep_alive", "images",
    "options", "think", "truncate", "shift", "logprobs", "top_logprobs", "messages", "tools", "_debug_render_only"
]  # fmt: skip


def user(text):
    return Message(role="user", content=text)


def test_generate_wraps_the_prompt_as_a_user_turn_behind_the_system_text():
    call = ollama.generate({"model": "M", "prompt": "hi", "system": "be brief", "context": [1, 2], "template": "{{ x }}"})
    assert call == ollama.Call(
        model="M",
        request=GenerateRequest(
            messages=(Message(role="system", content="be brief"), user("hi")),
            context=(1, 2),
            template="{{ x }}",
            truncate=True,
            shift=True,
            token_ids=True,
        ),
        stream=True,
        keep_alive=None,
        gives_context=True,
    )


def test_raw_and_suffix_take_the_prompt_as_it_stands():
    raw = ollama.generate({"model": "M", "prompt": "hi", "raw": True, "stream": False})
    assert raw.request == GenerateRequest(prompt="hi", truncate=True, shift=True)
    assert (raw.gives_context, raw.stream) == (False, False)
    assert ollama.generate({"model": "M", "prompt": "a", "suffix": "b"}).request == GenerateRequest(
        prompt="a", suffix="b", truncate=True, shift=True, token_ids=True
    )


def test_chat_reads_turns_of_all_roles():
    call = ollama.chat(
        {
            "model": "M",
            "messages": [
                {"role": "Developer", "content": "be brief"},
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}], "thinking": "hm"},
                {"role": "tool", "content": "sun", "tool_name": "f"},
            ],
            "options": {"temperature": 0, "num_predict": 3},
            "truncate": False,
        }
    )
    assert call.request == GenerateRequest(
        messages=(
            Message(role="system", content="be brief"),
            user("weather?"),
            Message(
                role="assistant",
                content="",
                extra={"thinking": "hm", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]},
            ),
            Message(role="tool", content="sun", extra={"tool_name": "f"}),
        ),
        sampling=Sampling(temperature=0),
        max_tokens=3,
        truncate=False,
        shift=True,
    )


@pytest.mark.parametrize("body", [{"model": "M"}, {"model": "M", "prompt": ""}, {"model": "M", "prompt": None}])
def test_an_empty_prompt_only_loads(body):
    assert ollama.generate(body).request is None
    assert ollama.chat(body).request is None


def test_what_asks_for_nothing_passes():
    nothing = {"tools": [], "format": "", "think": False, "images": [], "options": None, "keep_alive": None}
    assert ollama.generate({"model": "M", "prompt": "x", **nothing}).request is not None
    assert ollama.generate({"model": "M", "prompt": "x", "tools": None, "format": None, "think": None}).request is not None


@pytest.mark.parametrize("read", [ollama.generate, ollama.chat])
def test_format_is_json_or_a_schema_whose_keys_keep_their_order(read):
    body = {"model": "M", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    assert read(body | {"format": "json"}).request.constraint == Constraint(kind=ConstraintKind.JSON_OBJECT, field="format")
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    constraint = read(body | {"format": schema}).request.constraint
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    assert constraint.text == '{"type":"object","properties":{"b":{},"a":{}}}'
    assert read(body).request.constraint is None


@pytest.mark.parametrize(
    ("extra", "field", "words"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "not yet"),
        ({"format": "yaml"}, "format", "invalid format:"),
        ({"format": 3}, "format", "invalid format:"),
        ({"think": "much"}, "think", 'invalid think value: "much"'),
        ({"think": 3}, "think", "think must be a boolean or string"),
        ({"images": ["aGk="]}, "images", "does not support vision"),
        ({"top_logprobs": 21}, "top_logprobs", "top_logprobs must be between 0 and 20"),
        ({"stream": "yes"}, "stream", "stream must be a boolean"),
        ({"raw": True, "system": "s"}, "raw", "raw mode does not support template, system, or context"),
        ({"context": ["x"]}, "context[0]", "token id"),
        ({"context": [2**40]}, "context[0]", "token id"),
        ({"prompt": 3}, "prompt", "prompt must be a string"),
        ({"options": []}, "options", "options must be an object"),
        ({"keep_alive": "soon"}, "keep_alive", "keep_alive"),
        ({"model": 3}, "model", "model must be a string"),
    ],
)
def test_generate_refuses(extra, field, words):
    with pytest.raises(InvalidRequest) as caught:
        ollama.generate({"model": "M", "prompt": "secret words", **extra})
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ("hi", "messages"),
        ([3], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": "x"}, {"role": "user", "images": ["aGk="]}], "messages[1].images"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0].function"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_chat_refuses(messages, field):
    with pytest.raises(InvalidRequest) as caught:
        ollama.chat({"model": "M", "messages": messages})
    assert caught.value.field == field


def test_chat_needs_a_model():
    with pytest.raises(InvalidRequest, match="model is required"):
        ollama.chat({"messages": []})


def test_a_field_of_a_later_version_is_told_as_such():
    with pytest.raises(NotYet):
        ollama.generate({"model": "M", "prompt": "a", "tools": [{}]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "missing request body"),
        (b"  ", "missing request body"),
        (b"{", "not valid JSON"),
        (b'{"prompt":"\xff"}', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not valid JSON"),
        (b"[]", "must be a JSON object, not an array"),
        (b"3", "must be a JSON object, not a number"),
    ],
)
def test_bodies_that_are_no_object(body, words):
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        fields.parse_object(body)


@given(st.binary())
def test_any_bytes_are_an_object_or_an_invalid_request(body):
    with contextlib.suppress(InvalidRequest):
        assert isinstance(fields.parse_object(body), dict)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(TURN, max_size=3)), st.sampled_from([ollama.generate, ollama.chat]))
def test_any_object_is_a_call_or_an_invalid_request(body, parse):
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse(body), ollama.Call)


USAGE = Usage(prompt_tokens=5, cached_tokens=2, generated_tokens=3, prefill_seconds=0.25, decode_seconds=0.5)


def test_a_chat_stream():
    reply = ollama_replies.Reply("M", chat=True)
    piece = reply.piece('He "said"\n<é>')
    assert piece.endswith(b"\n")
    assert piece.count(b"\n") == 1
    value = json.loads(piece)
    assert list(value) == ["model", "created_at", "message", "done"]
    assert value["message"] == {"role": "assistant", "content": 'He "said"\n<é>'}
    assert value["done"] is False
    last = json.loads(reply.final(FinishReason.STOP, ollama_replies.metrics(USAGE, total_seconds=1, load_seconds=0)))
    assert list(last) == [
        *("model", "created_at", "message", "done", "done_reason", "total_duration", "load_duration"),
        *("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
    ]
    assert last["load_duration"] == 1
    assert last["eval_duration"] == 500_000_000


def test_a_generate_answer_in_one_object():
    reply = ollama_replies.Reply("M", chat=False)
    metrics = ollama_replies.metrics(
        Usage(prompt_tokens=1, cached_tokens=0, generated_tokens=1, context_shifts=2), total_seconds=0, load_seconds=0
    )
    token = TokenLogprob("é", "é".encode(), -0.5, (TokenLogprob("e", b"e", -1.0),))
    value = json.loads(reply.final(FinishReason.LENGTH, metrics, text="é", context=[1, 2], logprobs=[token]))
    assert list(value)[:6] == ["model", "created_at", "response", "done", "done_reason", "context"]
    assert list(value)[-2:] == ["logprobs", "context_shifts"]
    assert value["eval_duration"] == 1
    assert value["logprobs"] == [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}]}
    ]


def test_figures_that_are_zero_are_left_out():
    metrics = ollama_replies.metrics(Usage(prompt_tokens=0, cached_tokens=0, generated_tokens=0), total_seconds=1, load_seconds=1)
    value = json.loads(ollama_replies.Reply("M", chat=False).final(FinishReason.STOP, metrics))
    assert {"prompt_eval_count", "eval_count", "eval_duration", "context", "context_shifts"}.isdisjoint(value)


def test_load_and_unload_answers():
    assert json.loads(ollama_replies.Reply("M", chat=False).idle("load")) | {"created_at": ""} == {
        **{"model": "M", "created_at": "", "response": ""},
        **{"done": True, "done_reason": "load"},
    }


def test_times_are_rfc_3339_in_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", clock.now_text())


def test_never_lies_three_centuries_ahead():
    assert 2310 < clock.expiry(float("inf")).year < 2330


@given(st.text(), st.booleans())
def test_every_text_survives_a_stream(text, chat):
    value = json.loads(ollama_replies.Reply("M", chat=chat).piece(text))
    assert (value["message"]["content"] if chat else value["response"]) == text


def test_a_go_template_is_translated_or_refused():
    made = ollama.generate({"model": "m", "prompt": "x", "template": "Q {{ .Prompt }}"})
    assert made.request is not None
    assert "'Q '" in (made.request.template or "")
    with pytest.raises(InvalidRequest, match="Jinja") as caught:
        ollama.generate({"model": "m", "prompt": "x", "template": "{{ range .Tools }}{{ end }}"})
    assert caught.value.field == "template"
