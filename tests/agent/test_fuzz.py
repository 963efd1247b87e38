"""Codecs and parsers under whatever comes: no error but their own, and the same events however a text is cut.

`pytest tests/agent/test_fuzz.py --hypothesis-profile=long` takes minutes and looks further.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import chats
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vllama_agent.apis import anthropic, fields, manage, ollama, ollama_replies, openai, openai_replies, responses, tokens
from vllama_agent.apis.openai_replies import Choice
from vllama_agent.auth import parse
from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Begun, Call, Event, Text, Thought
from vllama_core.errors import InvalidRequest

TEXTS = st.text(max_size=20) | st.sampled_from(["m", "user", "assistant", "tool", "json", "high", "5m", "-1", "a" * 300, "\0", "{{ x }}"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
INNER = (
    "role content type text function name arguments parameters properties description id tool_call_id schema json_schema effort "
    "image_url url include_usage temperature stop top_k num_predict seed 1"
)
KEYS = st.sampled_from(INNER.split())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4), max_leaves=12
)
OLLAMA = (
    "model prompt suffix system template context stream raw format keep_alive images options think truncate shift logprobs top_logprobs "
    "messages tools _debug_render_only"
)
OPENAI = (
    "model messages prompt suffix stream stream_options max_tokens max_completion_tokens seed stop temperature top_p top_k min_p "
    "repetition_penalty frequency_penalty presence_penalty response_format tools tool_choice parallel_tool_calls n logprobs top_logprobs "
    "logit_bias reasoning reasoning_effort echo best_of modalities user"
)
MANAGE = "model name from files adapters template system parameters messages license quantize stream source destination verbose options"
ANTHROPIC = (
    "model messages max_tokens system stream tools tool_choice thinking output_config output_format stop_sequences temperature top_p top_k "
    "metadata service_tier mcp_servers container"
)
RESPONSES = (
    "model input instructions tools tool_choice parallel_tool_calls text reasoning max_output_tokens truncation stream store temperature "
    "top_p previous_response_id background conversation prompt include metadata"
)
TOKENS = "model prompt content messages tools tokens add_special add_special_tokens parse_special with_pieces return_token_strs"
CODECS = [
    (ollama.generate, OLLAMA),
    (ollama.chat, OLLAMA),
    (openai.chat, OPENAI),
    (openai.completions, OPENAI),
    (manage.create, MANAGE),
    (manage.copy, MANAGE),
    (manage.delete, MANAGE),
    (manage.preview, MANAGE),
    (anthropic.messages, ANTHROPIC),
    (responses.create, RESPONSES),
    (tokens.tokenize, TOKENS),
    (tokens.detokenize, TOKENS),
]


@pytest.mark.parametrize(("codec", "known"), CODECS, ids=lambda value: getattr(value, "__qualname__", ""))
@given(data=st.data())
def test_a_codec_takes_any_object_or_says_which_field_is_wrong(codec: Any, known: str, data: st.DataObject) -> None:
    body = data.draw(st.dictionaries(st.sampled_from(known.split()), VALUES, max_size=6))
    if data.draw(st.booleans()):
        body["model"] = "m"
    with suppress(InvalidRequest):
        codec(body)


@given(
    body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()) | st.text().map(lambda text: text.encode("utf-16"))
)
@example(body=b'{"a": "\\ud800"}')
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'{"a": NaN}')
@example(body=b'{"a": 1e999}')
@example(body=b'{"a": ' + b"9" * 5000 + b"}")
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    with suppress(InvalidRequest):
        assert isinstance(fields.parse_object(body), dict)


@given(content=st.binary(max_size=200) | st.text("ab=# \n-:1name", max_size=60).map(str.encode))
def test_any_file_of_keys_is_read_or_refused_by_line(content: bytes) -> None:
    told = "line "
    try:
        assert all(key.secret for key in parse(content))
    except ValueError as error:
        told = str(error)
    assert told.startswith("line ")


MARKUPS = [(family.name, thought) for family in families.FAMILIES for thought in (None, *(markers.name for markers in families.THOUGHTS))]
PLAIN = ["Hello", " ", "\n", "Zürich", "🦙", "<", ">", "[", "]", "{", "}", '"', "\\", "'", ",", ":", "|", "`", "a < b", "\u2581", "\uff5c"]
CALL_TEXTS = [
    '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}',
    '{"name": "add", "arguments": {"a": 1, "b": 2.5}}',
    '{"name": "add", "arguments": {"a": "</tool_call>"',
    'add{"a": 1}',
    "add(a=1, b=2.5)",
    "<parameter=a>\n1\n</parameter>",
    "<arg_key>a</arg_key><arg_value>1</arg_value>",
    '<invoke name="add"><parameter name="a">1</parameter></invoke>',
    "functions.add:0",
    "<|message|>",
    "<|channel|>analysis",
    "<|channel|>commentary to=functions.add",
    "<|end|>",
]


@st.composite
def answers(draw: st.DrawFn, markup: families.Markup) -> tuple[list[str], str]:
    """A text of markers, halves of them, calls and words; and the same cut into pieces anywhere."""
    markers = [*markup.control(), "<think>", "</think>"]
    halves = st.sampled_from(markers).flatmap(lambda marker: st.integers(1, len(marker)).map(lambda size: marker[:size]))
    part = st.sampled_from([*markers, *CALL_TEXTS, *PLAIN]) | halves | st.text(max_size=4)
    text = "".join(draw(st.lists(part, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)], text


def merged(events: list[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        match found[-1:], event:
            case [Text(before)], Text(text):
                found[-1] = Text(before + text)
            case [Thought(before)], Thought(text):
                found[-1] = Thought(before + text)
            case _:
                found.append(event)
    return found


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in MARKUPS))
@given(data=st.data())
def test_a_parser_reads_the_same_however_an_answer_is_cut(name: str, data: st.DataObject) -> None:
    """So half a marker is never shown: shown pieces are not taken back, and the whole text shows none."""
    thought = data.draw(st.sampled_from([None, *(markers.name for markers in families.THOUGHTS)]))
    begun = data.draw(st.sampled_from(list(Begun)))
    markup = families.named(name, thought)
    pieces, text = data.draw(answers(markup))
    by_pieces, by_bytes, at_once = (parsers.make(markup, chats.TOOLS, begun) for _ in range(3))
    assert by_pieces is not None
    assert by_bytes is not None
    assert at_once is not None
    whole = merged(parsers.read(at_once, text))
    assert merged([event for piece in pieces for event in by_pieces.feed(piece)] + by_pieces.finish()) == whole
    assert merged([event for letter in text for event in by_bytes.feed(letter)] + by_bytes.finish()) == whole
    for event in whole:
        if isinstance(event, Call):
            json.dumps(event.arguments, allow_nan=False)


EVENTS = st.lists(
    st.text(min_size=1, max_size=10).map(Text)
    | st.text(min_size=1, max_size=10).map(Thought)
    | st.builds(Call, st.text(max_size=5), st.dictionaries(st.text(max_size=5), LEAVES, max_size=3)),
    max_size=6,
)


@given(events=EVENTS, model=st.text(max_size=10))
def test_lines_of_ollamas_stream_hold_exactly_what_was_said(events: list[Event], model: str) -> None:
    reply, calls, lines = ollama_replies.Reply(model, chat=True), 0, b""
    for event in events:
        lines += reply.part(event, calls, None)
        calls += isinstance(event, Call)
    told = [json.loads(line)["message"] for line in lines.splitlines()]
    assert len(told) == len(events)
    assert "".join(message["content"] for message in told) == "".join(event.text for event in events if isinstance(event, Text))
    assert "".join(message.get("thinking", "") for message in told) == "".join(e.text for e in events if isinstance(e, Thought))
    assert [call["function"]["name"] for message in told for call in message.get("tool_calls", ())] == [
        event.name for event in events if isinstance(event, Call)
    ]


@given(events=EVENTS, model=st.text(max_size=10))
def test_events_of_openais_stream_hold_exactly_what_was_said(events: list[Event], model: str) -> None:
    reply, choice = openai_replies.Reply(model, chat=True, include_usage=False, alternatives=0), Choice(0)
    frames = b"".join(reply.part(0, choice, event, None) for event in events)
    told = [json.loads(frame.removeprefix("data: "))["choices"][0]["delta"] for frame in frames.decode().split("\n\n") if frame]
    assert "".join(delta.get("content") or "" for delta in told) == "".join(event.text for event in events if isinstance(event, Text))
    assert "".join(delta.get("reasoning") or "" for delta in told) == "".join(e.text for e in events if isinstance(e, Thought))
    called = [call["function"] for delta in told for call in delta.get("tool_calls", ())]
    assert [json.loads(call["arguments"]) for call in called] == [event.arguments for event in events if isinstance(event, Call)]
