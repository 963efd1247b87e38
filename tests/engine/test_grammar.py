"""What a constraint becomes, and what is refused with a sentence that names it."""

from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest

from vllama_agent.engines.base import Constraint, ConstraintKind
from vllama_agent.engines.llama_cpp import grammar


def constraint(text: str, kind: ConstraintKind = ConstraintKind.JSON_SCHEMA) -> Constraint:
    return Constraint(kind=kind, text=text, field="format")


def matches(made: str, text: str) -> bool:
    """Whether a text is a whole answer, byte by byte."""
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, made, log_level=0, limits=grammar.LIMITS)
    tokens = tokenizer.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(
    ("asked", "right", "wrong"),
    [
        (constraint("", ConstraintKind.JSON_OBJECT), '{"a": [1, {"b": null}]}', "[1]"),
        (constraint('{"type": "integer"}'), "12", '"12"'),
        (constraint("[a-c]+x", ConstraintKind.REGEX), "abcx", "abc"),
        (constraint('start: "yes" | "no" ("," "no")*', ConstraintKind.LARK), "no,no", "yes,no"),
        (constraint('{"properties": {"b": {}, "a": {}}, "required": ["b", "a"]}'), '{"b": 1, "a": 2}', '{"b": 1, "a": 2, "c": 3}'),
    ],
    ids=str,
)
def test_each_kind_takes_what_it_should(asked: Constraint, right: str, wrong: str) -> None:
    made = grammar.prepare(asked)
    assert matches(made, right)
    assert not matches(made, wrong)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
        ({"not": {"type": "string"}}, '"not"'),
        ({"if": {"type": "string"}, "then": {}}, '"if"'),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, '"propertyNames"'),
        ({"oneOf": [{"type": "string"}, {"type": "string"}]}, '"oneOf"'),
        ({"type": "string", "format": "hostname-of-mine"}, "hostname-of-mine"),
        ({"type": "sting"}, "sting"),
        ({"type": "string", "pattern": "(a"}, "unclosed group"),
        ({"$ref": "http://example.org/schema"}, "http://example.org/schema"),
        ({"$ref": "#"}, "no text can match it"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_named(schema: dict[str, Any], named: str) -> None:
    with pytest.raises(grammar.GrammarRefused) as caught:
        grammar.prepare(constraint(json.dumps(schema)))
    assert named in str(caught.value)
    assert "<" not in str(caught.value)


@pytest.mark.parametrize("kind", [ConstraintKind.REGEX, ConstraintKind.LARK])
def test_a_broken_expression_is_refused(kind: ConstraintKind) -> None:
    with pytest.raises(grammar.GrammarRefused):
        grammar.prepare(constraint("start: (a", kind))


def test_a_schema_beyond_any_honest_size_is_refused_unread() -> None:
    with pytest.raises(grammar.GrammarRefused, match="characters"):
        grammar.prepare(constraint("x" * (grammar.MAX_BYTES + 1)))


@pytest.mark.parametrize("levels", [124, 127, 250])
def test_a_schema_that_is_nested_too_deeply_is_refused(levels: int) -> None:
    with pytest.raises(grammar.GrammarRefused, match="nested too deeply"):
        grammar.prepare(constraint('{"items": ' * levels + "{}" + "}" * levels))
