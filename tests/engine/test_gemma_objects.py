"""Arguments in Gemma's syntax: what is let through is what the schema allows, and what the parser reads back."""

from __future__ import annotations

import contextlib
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.chat import gemma_objects
from vllama_agent.chat.grammar_rules import NoForm, Rules
from vllama_agent.chat.parsers import literals, values

BYTES = llguidance.LLTokenizer("byte")
Q = '<|"|>'
PLACE = {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "integer", "minimum": 1000}}, "required": ["city"]}
TREE = {
    "type": "object",
    "properties": {"node": {"$ref": "#/$defs/node"}},
    "required": ["node"],
    "$defs": {
        "node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}, "value": {"type": "number"}}, "required": ["value"]}
    },
}
UNIT = {"type": "object", "properties": {"unit": {"enum": ["C", "F", 5, None, ["a"], {"b": True}]}}, "required": ["unit"]}
LIST = {"type": "object", "properties": {"days": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}}}
EITHER = {"type": "object", "properties": {"x": {"anyOf": [{"type": "null"}, PLACE]}}, "required": ["x", "unknown"]}
MAP = {"type": "object", "properties": {"of": {"type": "object", "additionalProperties": {"type": "integer"}}}, "required": ["of"]}


def matcher(schema: dict[str, Any]) -> llguidance.LLMatcher:
    rules = Rules({})
    whole = gemma_objects.rule(schema, rules, quote=Q)
    made = llguidance.LLMatcher.grammar_from_lark("\n".join([f"start: {whole}", *rules.lines]))
    found = llguidance.LLMatcher(BYTES, made, log_level=0)
    assert not found.is_error(), found.get_error()
    return found


def takes(schema: dict[str, Any], text: str) -> bool:
    found, tokens = matcher(schema), BYTES.tokenize_str(text)
    return bool(found.try_consume_tokens(tokens) == len(tokens) and found.is_accepting())


@pytest.mark.parametrize(
    ("schema", "text", "read"),
    [
        (PLACE, f"{{city:{Q}Z\u00fcrich, {{}}: it's [1]{Q},zip:8000}}", {"city": "Z\u00fcrich, {}: it's [1]", "zip": 8000}),
        (PLACE, f"{{city:{Q}{Q}}}", {"city": ""}),
        (TREE, "{node:{value:1,left:{value:2.5}}}", {"node": {"value": 1, "left": {"value": 2.5}}}),
        (UNIT, f"{{unit:{Q}F{Q}}}", {"unit": "F"}),
        (UNIT, "{unit:5}", {"unit": 5}),
        (UNIT, f"{{unit:[{Q}a{Q}]}}", {"unit": ["a"]}),
        (UNIT, "{unit:{b:true}}", {"unit": {"b": True}}),
        (UNIT, "{unit:null}", {"unit": None}),
        (LIST, "{days:[true,false]}", {"days": [True, False]}),
        (LIST, "{}", {}),
        (EITHER, "{unknown:7,x:null}", {"unknown": 7, "x": None}),
        (EITHER, f"{{unknown:{Q}7{Q},x:{{city:{Q}Bern{Q}}}}}", {"unknown": "7", "x": {"city": "Bern"}}),
        (MAP, "{of:{a:1,b:2}}", {"of": {"a": 1, "b": 2}}),
        (MAP, "{of:{}}", {"of": {}}),
        ({"type": "object"}, f"{{a:{Q}b{Q},c:-1.5}}", {"a": "b", "c": -1.5}),
        ({"type": "object", "additionalProperties": False}, "{}", {}),
    ],
)
def test_what_the_schema_allows_is_let_through_and_read(schema: dict[str, Any], text: str, read: dict[str, Any]) -> None:
    assert takes(schema, text)
    call = literals.gemma_call(f"call:f{text}", quote=Q)
    assert call is not None
    assert call.arguments == read


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (PLACE, "{zip:8000}"),
        (PLACE, f"{{city:{Q}a{Q},zip:12}}"),
        (PLACE, f"{{city:{Q}a{Q},more:1}}"),
        (PLACE, '{city:"a"}'),
        (UNIT, f"{{unit:{Q}K{Q}}}"),
        (LIST, "{days:[]}"),
        (LIST, "{days:[true,true,true]}"),
        (TREE, "{node:{}}"),
        (MAP, "{of:{a:true}}"),
    ],
)
def test_what_it_does_not_allow_is_not(schema: dict[str, Any], text: str) -> None:
    assert not takes(schema, text)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"oneOf": [{"type": "string"}]}, "unsupported keywords in a tool's parameters: oneOf"),
        ({"type": "array", "minItems": "2"}, '"minItems" in a tool\'s parameters must be a whole number'),
        ({"type": "object", "required": 5}, '"required" in a tool\'s parameters must be an array of strings'),
        ({"type": "object", "properties": []}, '"properties" in a tool\'s parameters must be an object'),
        ({"type": "odd"}, "unknown type in a tool's parameters"),
        ({"type": "object", "properties": {"a:b": {}}}, "which ends a name in Gemma's objects"),
        ({"$ref": "#/$defs/none"}, '"#/\\$defs/none" in a tool\'s parameters leads to no schema'),
    ],
)
def test_what_cannot_be_kept_to_is_refused_by_its_name(part: dict[str, Any], told: str) -> None:
    with pytest.raises(NoForm, match=told):
        matcher({"type": "object", "properties": {"a": part}})


WORDS = st.sampled_from(
    ["type", "properties", "required", "items", "anyOf", "enum", "const", "minItems", "$ref", "additionalProperties", "a"]
)
SAID = st.sampled_from(["object", "array", "string", "number", "#", "#/properties/a"]) | st.none() | st.booleans() | st.integers(-2, 9)
JSON = st.recursive(SAID, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(WORDS, JSON, max_size=4))
def test_any_schema_makes_rules_or_is_refused_in_words(schema: dict[str, Any]) -> None:
    with contextlib.suppress(NoForm):
        gemma_objects.rule(schema, Rules({}), quote=Q)


@given(JSON)
def test_any_schema_has_types_or_none(schema: Any) -> None:
    assert all(isinstance(kind, str) for kind in values.types(schema))
