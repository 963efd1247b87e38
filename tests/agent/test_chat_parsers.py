"""Parsers of thoughts and calls. The texts are those that templates write (see also tests/engine/test_real_templates.py), and what models
make of them: without an end, with a thought inside, with words around, or wrong.
"""

from __future__ import annotations

import json
import random
from typing import Any

import chats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Begun, Call, Event, Text, Thought
from vllama_agent.chat.parsers import values
from vllama_core.config import CHAT_FAMILIES

F = Call("get_weather", {"city": "Zürich", "days": 3})
G = Call("add", {"a": 1, "b": 2.5})
JSON_F = '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}'
JSON_G = '{"name": "add", "arguments": {"a": 1, "b": 2.5}}'
XML_F = "<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>"
HARMONY_F = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + '{"city": "Zürich", "days": 3}<|call|>'

CASES: list[tuple[str, str | None, Begun, str, list[Event]]] = [
    # family, thought, where the prompt ends, text, what it holds
    ("qwen", "think", Begun.NOT, "Hello there.\n", [Text("Hello there.\n")]),
    ("qwen", "think", Begun.NOT, "\n<think>\nHm.\n</think>\n\nYes.", [Thought("Hm."), Text("Yes.")]),
    ("qwen", "think", Begun.THOUGHT, "Hm.\n</think>\n\nYes.", [Thought("Hm."), Text("Yes.")]),
    ("qwen", "think", Begun.THOUGHT, "Hm, and never done", [Thought("Hm, and never done")]),
    ("qwen", "think", Begun.NOT, "</think>\n\nYes.", [Text("Yes.")]),
    ("qwen", "think", Begun.NOT, "It writes <think> first.", [Text("It writes <think> first.")]),
    ("qwen", "think", Begun.TEXT, "<think> is a tag.", [Text("<think> is a tag.")]),
    ("qwen", "think", Begun.NOT, f"<think>\na < b\n</think>\n\n<tool_call>\n{JSON_F}\n</tool_call>", [Thought("a < b"), F]),
    ("qwen", None, Begun.NOT, f"I look.\n<tool_call>{JSON_F}</tool_call>\n<tool_call>{JSON_G}</tool_call>", [Text("I look."), F, G]),
    ("qwen", None, Begun.NOT, f"<tool_call>\n{JSON_F}", [F]),
    ("qwen", None, Begun.NOT, f"<tool_call>\n{XML_F}\n</tool_call>", [F]),
    ("qwen", None, Begun.NOT, "<tool_call>\n{nonsense}\n</tool_call> so", [Text("<tool_call>\n{nonsense}\n</tool_call> so")]),
    ("qwen", None, Begun.NOT, 'a<tool_call>{"name": "add", "arg', [Text('a<tool_call>{"name": "add", "arg')]),
    ("qwen", None, Begun.NOT, "Three <tool_ca", [Text("Three <tool_ca")]),
    (
        "qwen",
        None,
        Begun.NOT,
        '<tool_call>{"name": "get_weather", "arguments": {"city": "a \\"</tool_call>\\" b"}}</tool_call>',
        [Call("get_weather", {"city": 'a "</tool_call>" b'})],
    ),
    ("qwen", None, Begun.NOT, '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [Call("f", {"a": 1})]),
    ("qwen3-coder", None, Begun.NOT, f"<tool_call>\n{XML_F}\n</tool_call>\n{XML_F}", [F, F]),
    ("qwen3-coder", None, Begun.NOT, f"<tool_call>{JSON_F}</tool_call>", [F]),
    (
        "glm",
        "think",
        Begun.NOT,
        "<think>Hm</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Zürich</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        [Thought("Hm"), F],
    ),
    ("mistral", None, Begun.NOT, f"[TOOL_CALLS] [{JSON_F}, {JSON_G}]", [F, G]),
    ("mistral", None, Begun.NOT, 'Well[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2.5}[TOOL_CALLS]add{"a": 1, "b": 2.5}', [Text("Well"), G, G]),
    ("mistral", "mistral", Begun.NOT, "[THINK]Hm.[/THINK]It is [INST].", [Thought("Hm."), Text("It is [INST].")]),
    (
        "deepseek",
        "think",
        Begun.THOUGHT,
        "Hm.</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
        '{"a": 1, "b": 2.5}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        [Thought("Hm."), G],
    ),
    (
        "deepseek",
        "think",
        Begun.THOUGHT,
        'Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": 2.5}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        [Thought("Hm."), G],
    ),
    ("llama3", None, Begun.NOT, '{"name": "add", "parameters": {"a": 1, "b": 2.5}}', [G]),
    ("llama3", None, Begun.NOT, f"{JSON_F}; {JSON_G}", [F, G]),
    ("llama3", None, Begun.NOT, '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": 2.5}}', [G]),
    ("llama3", None, Begun.NOT, '<|python_tag|>brave_search.call(query="x")', [Call("brave_search", {"query": "x"})]),
    ("llama3", None, Begun.NOT, '{"name": "nobody", "parameters": {}}', [Text('{"name": "nobody", "parameters": {}}')]),
    ("llama3", None, Begun.NOT, '{"colour": "red"}', [Text('{"colour": "red"}')]),
    ("llama4", None, Begun.NOT, '[get_weather(city="Zürich", days=3), add(a=1, b=2.5)]', [F, G]),
    ("llama4", None, Begun.NOT, "[1, 2]", [Text("[1, 2]")]),
    ("json", None, Begun.NOT, f"```json\n{JSON_F}\n```", [F]),
    ("granite", "granite", Begun.NOT, f"<think>Hm</think> <response>Yes<|tool_call|>[{JSON_F}]", [Thought("Hm"), Text("Yes"), F]),
    ("phi", None, Begun.NOT, f"<|tool_call|>[{JSON_F}]<|/tool_call|>", [F]),
    ("phi-4-mini", None, Begun.NOT, f"functools[{JSON_F}]", [F]),
    (
        "command",
        "command",
        Begun.NOT,
        "<|START_THINKING|>Hm<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1, "b": 2.5}}\n]<|END_ACTION|>',
        [Thought("Hm"), G],
    ),
    ("command", "command", Begun.NOT, "<|START_RESPONSE|>Yes<|END_RESPONSE|>", [Text("Yes")]),
    ("command-r", None, Begun.NOT, 'Action: ```json\n[{"tool_name": "add", "parameters": {"a": 1, "b": 2.5}}]```', [G]),
    ("lfm2", None, Begun.NOT, "<|tool_call_start|>[add(a=1, b=2.5)]<|tool_call_end|>Adding.", [G, Text("Adding.")]),
    (
        "kimi",
        "think",
        Begun.NOT,
        "Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
        '{"a": 1, "b": 2.5}<|tool_call_end|><|tool_calls_section_end|>',
        [Text("Well."), G],
    ),
    (
        "minimax",
        "think",
        Begun.THOUGHT,
        "Hm\n</think>\n\n<minimax:tool_call>\n"
        '<invoke name="get_weather">\n<parameter name="city">Zürich</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
        [Thought("Hm"), F],
    ),
    (
        "gemma4",
        "gemma4",
        Begun.NOT,
        '<|channel>thought\nHm<channel|><|tool_call>call:get_weather{city:<|"|>Zürich<|"|>,days:3}<tool_call|>',
        [Thought("Hm"), F],
    ),
    (
        "functiongemma",
        None,
        Begun.NOT,
        "<start_function_call>call:get_weather{city:<escape>Zürich<escape>,days:3}<end_function_call>",
        [F],
    ),
    ("harmony", None, Begun.NOT, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant" + HARMONY_F, [Thought("Hm"), F]),
    ("harmony", None, Begun.NOT, "<|channel|>final<|message|>Yes < no<|return|>", [Text("Yes < no")]),
    ("harmony", None, Begun.NOT, " to=functions.add<|channel|>commentary json<|message|>" + '{"a": 1, "b": 2.5}', [G]),
    ("harmony", None, Begun.NOT, "<|channel|>commentary<|message|>I add.<|end|>", [Text("I add.")]),
    ("harmony", None, Begun.NOT, "No header.", [Text("No header.")]),
    ("harmony", None, Begun.TEXT, "and so on", [Text("and so on")]),
    ("harmony", None, Begun.NOT, "<|channel|>commentary to=functions.add<|message|>no json<|call|>", [Text("no json")]),
]


def parser(family: str, thought: str | None, begun: Begun = Begun.NOT) -> parsers.Parser:
    made = parsers.make(families.named(family, thought), chats.TOOLS, begun)
    assert made is not None
    return made


def merged(events: list[Event]) -> list[Event]:
    """Neighbours of one kind as one."""
    made: list[Event] = []
    for event in events:
        match made[-1] if made else None, event:
            case (Text(a), Text(b)):
                made[-1] = Text(a + b)
            case (Thought(a), Thought(b)):
                made[-1] = Thought(a + b)
            case _:
                made.append(event)
    return made


@pytest.mark.parametrize(("family", "thought", "begun", "text", "wanted"), CASES)
def test_it_reads(family: str, thought: str | None, begun: Begun, text: str, wanted: list[Event]) -> None:
    assert merged(parsers.read(parser(family, thought, begun), text)) == wanted


@pytest.mark.parametrize(("family", "thought", "begun", "text", "wanted"), CASES)
def test_it_reads_the_same_character_by_character(family: str, thought: str | None, begun: Begun, text: str, wanted: list[Event]) -> None:
    made = parser(family, thought, begun)
    events = [event for character in text for event in made.feed(character)]
    assert merged([*events, *made.finish()]) == wanted


MARKUP = st.sampled_from(
    [
        *(text for family in families.FAMILIES for text in families.Markup(family, None).control()),
        *(text for thought in families.THOUGHTS for text in (thought.open, thought.close)),
        *(text for _, _, _, text, _ in CASES),
        " ",
        "\n",
        "<",
        "{",
        '"',
        "[",
        "word",
    ]
)


@given(
    st.sampled_from([family.name for family in families.FAMILIES]),
    st.sampled_from([None, *(thought.name for thought in families.THOUGHTS)]),
    st.sampled_from(Begun),
    st.lists(MARKUP, max_size=6).map("".join),
    st.randoms(use_true_random=False),
)
def test_whatever_a_model_writes_and_however_it_is_cut_it_reads_the_same(
    family: str, thought: str | None, begun: Begun, text: str, cut: random.Random
) -> None:
    made, events, at = parser(family, thought, begun), [], 0
    while at < len(text):
        end = at + cut.choice((1, 2, 5, 30))
        events += made.feed(text[at:end])
        at = end
    events += made.finish()
    assert merged(events) == merged(parsers.read(parser(family, thought, begun), text))
    for event in events:
        if isinstance(event, Call):
            json.dumps(event.arguments, allow_nan=False)


def test_words_are_not_held_back() -> None:
    made = parser("qwen", "think")
    assert made.feed("It is") == [Text("It is")]
    assert made.feed(" <b>fine</b>") == [Text(" <b>fine</b>")]


def test_only_what_could_be_a_marker_is_held_back() -> None:
    made = parser("qwen", "think")
    assert made.feed("a <tool") == [Text("a")]
    assert made.feed("box>") == [Text(" <toolbox>")]


def test_without_tools_calls_are_not_looked_for() -> None:
    made = parsers.make(families.named("qwen", "think"), [], Begun.NOT)
    assert made is not None
    text = f"<tool_call>{JSON_F}</tool_call>"
    assert merged(parsers.read(made, text)) == [Text(text)]


@pytest.mark.parametrize(("family", "tools"), [(None, chats.TOOLS), ("qwen", [])])
def test_a_model_without_markup_needs_no_parser(family: str | None, tools: list[Any]) -> None:
    assert parsers.make(families.named(family, None), tools, Begun.NOT) is None


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3", {"type": "string"}, "3"),
        ("3", None, 3),
        ("Zürich", None, "Zürich"),
        ("null", {"type": ["string", "null"]}, None),
        ("3", {"type": ["string", "null"]}, "3"),
        ("True", {"type": "boolean"}, True),
        ("{'a': [1, None]}", {"type": "object"}, {"a": [1, None]}),
        ('{"a": 1}', {"anyOf": [{"type": "object"}, {"type": "string"}]}, {"a": 1}),
        ("2", {"enum": ["1", "2"]}, "2"),
        ("123456789012345678901234567890", {"type": "integer"}, 123456789012345678901234567890.0),
        ("NaN", {"type": "number"}, "NaN"),
        ("[" * 5000, {"type": "array"}, "[" * 5000),
    ],
)
def test_a_value_has_the_type_that_its_schema_says(text: str, schema: Any, value: Any) -> None:
    assert values.typed(text, schema) == value


def test_no_marker_begins_with_another() -> None:
    """Else the shorter one would be found where text is cut behind it."""
    for family in families.FAMILIES:
        for thought in (None, *families.THOUGHTS):
            openers = family.calls.openers if family.calls else ()
            markers = {*openers, *((thought.open, thought.close, *thought.drops) if thought else ())}
            assert not [(a, b) for a in markers for b in markers if a != b and b.startswith(a)], (family.name, thought)


def test_every_family_can_be_chosen_by_its_name() -> None:
    assert tuple(dict.fromkeys(family.name for family in families.FAMILIES)) == CHAT_FAMILIES
