"""What vLLM is sent for answers that are held to calls, formats and thoughts: the library that it uses takes it, and lets through what the
same request may answer on llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chats
import llguidance
import pytest
from real_templates import FILES

from vllama_agent.chat import call_forms, families
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup
from vllama_agent.chat.grammar_rules import SPACING
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest, Message
from vllama_agent.engines.vllm import holding
from vllama_core.errors import InvalidRequest

BYTES = llguidance.LLTokenizer("byte")
HI = (Message(role="user", content="hi"),)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
FORMAT = Constraint(kind=ConstraintKind.JSON_SCHEMA, text=json.dumps(SCHEMA), field="format")
QWEN = next(file for file in FILES if file.stem == "Qwen-Qwen3-0.6B").read_text()
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
CALLING = [file for file in FILES if (family := families.of(file.read_text()).family) and call_forms.of(family.name, file.read_text())]


def held(template: str, *, begun: Begun = Begun.NOT, control: dict[str, int] | None = None, **asked: Any) -> str:
    request = GenerateRequest(messages=HI, **asked)
    found = holding.chat(request, families.of(template), template=template, begun=begun, control=control or {})
    text: str = found["grammar"]
    return text


def takes(grammar: str, text: str) -> bool:
    # as vLLM hands it on
    matcher = llguidance.LLMatcher(BYTES, llguidance.grammar_from("grammar", grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize("file", CALLING, ids=lambda file: file.stem)
@pytest.mark.parametrize("begun", [Begun.NOT, Begun.THOUGHT])
def test_every_familys_grammar_compiles_there(file: Path, begun: Begun) -> None:
    grammar = held(file.read_text(), begun=begun, tools=tuple(chats.TOOLS), constraint=FORMAT)
    assert llguidance.LLMatcher.validate_grammar(llguidance.grammar_from("grammar", grammar), None) == ""


def test_a_demanded_call_may_follow_a_thought_and_nothing_else_may_come() -> None:
    grammar = held(QWEN, tools=tuple(chats.TOOLS), must_call=("add",))
    assert takes(grammar, CALL)
    assert takes(grammar, f"<think>\nHm.\n</think>\n\n{CALL}")
    assert not takes(grammar, "Hello")
    assert not takes(grammar, CALL.replace("add", "get_weather"))


def test_a_thought_that_the_prompt_opened_is_ended_first() -> None:
    grammar = held(QWEN, begun=Begun.THOUGHT, tools=tuple(chats.TOOLS), must_call=("add",))
    assert takes(grammar, f"Hm.\n</think>\n{CALL}")
    assert not takes(grammar, CALL)


def test_beside_tools_an_answer_is_in_the_format_or_a_call() -> None:
    grammar = held(QWEN, tools=tuple(chats.TOOLS), constraint=FORMAT, think=False)
    assert takes(grammar, '{"ok": true}')
    assert takes(grammar, CALL)
    assert not takes(grammar, '{"ok": true, "more": 1}')
    assert not takes(grammar, "<think>\n")


def test_without_a_thought_and_calls_a_format_is_sent_as_it_stands() -> None:
    asked = GenerateRequest(messages=HI, constraint=FORMAT, think=False)
    found = holding.chat(asked, Markup(None, families.of(QWEN).thought), template=QWEN, begun=Begun.NOT, control={})
    assert found == {"json": {**SCHEMA, "additionalProperties": False, "x-guidance": SPACING}}
    compact = llguidance.LLMatcher.grammar_from_json_schema(found["json"], defaults={"whitespace_flexible": True})  # as vLLM does
    matcher = llguidance.LLMatcher(BYTES, compact, log_level=0)
    assert matcher.try_consume_tokens(BYTES.tokenize_str("{ ")) == 1


def test_markers_that_are_control_tokens_are_named_by_their_ids() -> None:
    grammar = held(QWEN, control={"<tool_call>": 7, "<|im_end|>": 8}, tools=tuple(chats.TOOLS), must_call=("add",))
    assert "<[7]>" in grammar
    assert "<[8]>" not in grammar


def test_calls_that_have_no_form_are_refused_by_the_field_that_demands_them() -> None:
    with pytest.raises(InvalidRequest, match="this model cannot be held to a grammar") as caught:
        held("no template", tools=tuple(chats.TOOLS), must_call=("add",))
    assert caught.value.field == "tool_choice"
