"""Closing objects only ever narrows a schema, and never to nothing."""

from __future__ import annotations

from typing import Any

import pytest

from vllama_agent.chat.closed_schemas import closed

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = OPEN | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (OPEN, CLOSED),
        ({"type": "array", "items": OPEN}, {"type": "array", "items": CLOSED}),
        ({"anyOf": [OPEN, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"$ref": "#/$defs/x", "$defs": {"x": OPEN}}, {"$ref": "#/$defs/x", "$defs": {"x": CLOSED}}),
        ({"properties": {"properties": OPEN}}, {"properties": {"properties": CLOSED}, "additionalProperties": False}),
        ({"prefixItems": [OPEN], "items": OPEN}, {"prefixItems": [CLOSED], "items": CLOSED}),
        ({"additionalProperties": OPEN}, {"additionalProperties": CLOSED}),
    ],
    ids=str,
)
def test_objects_that_name_their_properties_are_limited_to_them(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        OPEN | {"additionalProperties": True},
        OPEN | {"patternProperties": {"^x": {}}},
        OPEN | {"required": ["a", "b"]},
        {"type": "object"},
        {"const": OPEN},
        {"enum": [OPEN]},
        {"default": OPEN},
        {"allOf": [OPEN, {"properties": {"b": {}}}]},
        {"oneOf": [OPEN, {"properties": {"b": {}}}]},
        {"properties": {"x": {"$ref": "#/$defs/y", "properties": {"b": {}}}}, "$defs": {"y": OPEN}},
        {"anyOf": [OPEN], "properties": {"b": {}}},
        True,
        {"properties": 3, "items": "x"},
    ],
    ids=str,
)
def test_nothing_is_changed_where_that_would_forbid_what_the_schema_asks_for(schema: Any) -> None:
    assert closed(schema) == schema


def test_a_schema_is_not_written_to() -> None:
    copy = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    closed(copy)
    assert copy == OPEN
