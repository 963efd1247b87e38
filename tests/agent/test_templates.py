"""Chat templates: what they are given, how a begun answer is continued, and what is known of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from vllama_agent.chat import beginnings, families, templates
from vllama_agent.chat.events import Begun
from vllama_agent.engines.llama_cpp import prompt

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}


def render(source: str, *messages: dict[str, Any], **chosen: Any) -> str:
    return templates.render(source, templates.Chat(messages=messages, **chosen), bos="<s>", eos="</s>")


def call(name: str = "f", arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments or {}}, **more}


def calling(*calls: dict[str, Any], content: str = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


@pytest.mark.parametrize(("think", "thinks"), [(None, True), (True, True), (False, False), ("high", True)])
def test_a_model_thinks_unless_it_is_told_not_to(think: Any, thinks: bool) -> None:
    assert ("</think>" in render(CHATML, USER, think=think)) is not thinks


@pytest.mark.parametrize(
    ("names", "think", "effort"),
    [
        ("'low' 'high'", "medium", "high"),
        ("'low' 'high'", "max", "high"),
        ("'high' 'max'", "max", "max"),
        ("", "low", "low"),
        ("'no_think'", False, "no_think"),
        ("'no_think'", None, "high"),
        ("", None, "undefined"),
        ("", False, "undefined"),
    ],
)
def test_levels_are_those_that_the_template_names(names: str, think: Any, effort: str) -> None:
    assert render("{# " + names + " #}{{ reasoning_effort | default('undefined') }}", USER, think=think) == effort


def test_a_template_is_given_no_tools_where_there_are_none() -> None:
    assert render("{{ tools is none }}", USER) == "True"
    assert render("{{ tools | tojson }}", USER, tools=[TOOL]).startswith('[{"type": "function", "function": {"name": "f"')


def test_blocks_for_training_render_what_is_inside() -> None:
    assert render("{% generation %}a{{ 1 + 1 }}{% endgeneration %}", USER) == "a2"


def test_the_date_is_there() -> None:
    assert render("{{ strftime_now('%Y') }}", USER).startswith("2")


@pytest.mark.parametrize("source", ["{{ messages.clear() }}", "{{ messages[0].update({}) }}", "{{ ''.__class__.__mro__ }}"])
def test_a_template_changes_nothing_and_sees_nothing_inside(source: str) -> None:
    with pytest.raises(templates.TemplateError):
        render(source, USER)


def test_arguments_are_an_object_for_some_and_a_text_for_others() -> None:
    made = calling(call(arguments={"a": "é"}))
    last = "{% set f = messages[-1].tool_calls[-1].function %}"
    for way in ("{{ f.arguments }}", "{{ '' + f.arguments + '' }}", "{{ '' ~ f.arguments }}", "{{ f.arguments | tojson }}"):
        assert render(last + way, USER, made) == '{"a": "é"}'
    assert render(last + "{% for k, v in f.arguments | items %}{{ k }}={{ v }}{% endfor %}", USER, made) == "a=é"


SHOWN = (
    "{% for m in messages %}{{ m.role }}:{% for c in m.tool_calls %}{{ c.id }},{% endfor %}{{ m.tool_call_id }} {{ m.name }};{% endfor %}"
)


@pytest.mark.parametrize(
    ("ids", "first", "second"),
    [("", "call_0", "call_1"), ("mistral", "call00000", "call00001"), ("kimi", "functions.f:0", "functions.g:1")],
)
def test_calls_and_results_find_each_other_without_ids(ids: str, first: str, second: str) -> None:
    """By the tool's name, as Ollama's clients send them; the ids look as the model wants them."""
    chat = [USER, calling(call("f"), call("g")), {"role": "tool", "content": "2", "tool_name": "g"}, {"role": "tool", "content": "1"}]
    assert render(SHOWN, *chat, ids=ids) == f"user: ;assistant:{first},{second}, ;tool:{second} g;tool:{first} f;"


def test_given_ids_are_kept_where_the_model_takes_any() -> None:
    chat = [USER, calling(call("f", id="a"), call("g", id="b")), {"role": "tool", "content": "", "tool_call_id": "b"}]
    assert render(SHOWN, *chat) == "user: ;assistant:a,b, ;tool:b g;"


def test_several_calls_are_told_one_by_one_where_the_template_takes_one() -> None:
    source = "{# only supports single tool-calls #}" + SHOWN
    results = [{"role": "tool", "content": "", "tool_name": name} for name in ("f", "g")]
    chat = [USER, calling(call("f"), call("g")), *results]
    assert render(source, *chat) == "user: ;assistant:call_0, ;tool:call_0 f;assistant:call_1, ;tool:call_1 g;"


def test_what_was_said_before_several_calls_is_told_once() -> None:
    source = "{# only supports single tool-calls #}{% for m in messages %}{{ m.content }}{{ m.reasoning }};{% endfor %}"
    assert render(source, USER, calling(call("f"), call("g"), content="Well", thinking="Hm")) == "Hi;WellHm;;"


def test_a_begun_answer_is_continued() -> None:
    assert render(CHATML, USER, {"role": "assistant", "content": "Once "}).endswith("<|im_start|>assistant\nOnce ")


def test_a_begun_answer_is_continued_although_the_template_trims_it() -> None:
    source = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}{% if add_generation_prompt %}[{% endif %}"
    assert render(source, USER, {"role": "assistant", "content": " Once "}) == "[Hi][Once"


def test_a_begun_answer_is_continued_although_the_template_leaves_it_out() -> None:
    source = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    assert render(source, USER, {"role": "assistant", "content": "Once"}) == "[Hi]A: Once"


def test_an_empty_answer_is_not_begun() -> None:
    assert render(CHATML, USER, {"role": "assistant", "content": ""}) == render(CHATML, USER)


THINK = families.Markup(None, next(markers for markers in families.THOUGHTS if markers.name == "think"))


@pytest.mark.parametrize(
    ("message", "rendered", "begun"),
    [
        (USER, "…assistant\n", Begun.NOT),
        (USER, "…assistant\n<think>\n", Begun.THOUGHT),
        (USER, "…assistant\n<think>\n\n</think>\n\n", Begun.NOT),
        ({"role": "assistant", "content": "Once"}, "…Once", Begun.TEXT),
        ({"role": "assistant", "content": "", "thinking": "Well"}, "…Well", Begun.THOUGHT),
        ({"role": "assistant", "content": "<think>Well"}, "…<think>Well", Begun.THOUGHT),
        ({"role": "assistant", "content": "<think>Well</think>Once"}, "…", Begun.TEXT),
    ],
)
def test_where_an_answer_begins_is_seen_from_the_prompt(message: dict[str, Any], rendered: str, begun: Begun) -> None:
    assert beginnings.begun([USER, message], rendered, THINK) is begun


class Text:
    """A vocabulary of bytes, of a model with a template for tools."""

    chat_template: str | None = "plain {{ messages[0].content }}"
    tool_template: str | None = "<tool_call> with {{ tools | length }}"
    chat_family: str | None = None
    special_texts = ("", "")
    fill_in_middle = (-1, -1, -1)
    bos = -1
    longest_token = 1

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text)


JOB = {"messages": [USER], "template": None, "tools": [], "think": None, "context": [], "room": 100, "window": 100, "num_keep": 0}


@pytest.mark.parametrize(("tools", "text", "family"), [([], b"plain Hi", None), ([TOOL], b"<tool_call> with 1", "qwen")])
def test_a_model_with_a_template_for_tools_gets_it_for_them_only(tools: list[Any], text: bytes, family: str | None) -> None:
    made = prompt.prepare(Text(), {**JOB, "tools": tools, "truncate": True})
    assert bytes(made.tokens) == text
    assert made.markup is not None
    assert (made.markup.family.name if made.markup.family else None) == family


def test_a_family_that_was_chosen_goes_before_the_template() -> None:
    text = Text()
    text.chat_family = "mistral"
    made = prompt.prepare(text, {**JOB, "tools": [TOOL], "truncate": False})
    assert made.markup is not None
    assert made.markup.family is not None
    assert made.markup.family.name == "mistral"
