"""JSON schemas, before they become grammars. Pure."""

from __future__ import annotations

from typing import Any

SCHEMAS = frozenset({"items", "additionalItems", "additionalProperties", "prefixItems", "anyOf", "oneOf"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords whose value is a schema or a list of them, and those that give them names.
https://json-schema.org/draft/2020-12/json-schema-core"""
COMBINING = frozenset({"anyOf", "$ref"})
ABOUT = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "type"})
ABOUT |= {"$comment", "$defs", "definitions", "$schema", "$id", "id"}
"""Keywords that say nothing of an object's properties."""


def closed(schema: Any) -> Any:
    """The schema with every object that names its properties limited to them, unless it says itself what else may come.

    Whatever matches it matches the original too. A schema allows unknown keys by default, and a small model would go on inventing
    some; llama.cpp's own converter and Ollama limit objects in this way as well. Where one object has to match several schemas nothing
    is changed, since each would forbid the others' properties; nor where it must not match several, since the narrower ones are
    matched by less.
    """
    return schema if _combines(schema) else _closed(schema)


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = {key: _within(key, value) for key, value in schema.items()}
    named, required = made.get("properties"), made.get("required", [])
    says = made.keys() & {"additionalProperties", "patternProperties", "unevaluatedProperties"}
    if isinstance(named, dict) and isinstance(required, list) and not says and all(key in named for key in required):
        made["additionalProperties"] = False
    return made


def _within(key: str, value: Any) -> Any:
    if key in SCHEMAS:
        return [_closed(item) for item in value] if isinstance(value, list) else _closed(value)
    if key in NAMED and isinstance(value, dict):
        return {name: _closed(item) for name, item in value.items()}
    return value


def _combines(schema: Any) -> bool:
    """Whether somewhere one object is held against several schemas at once."""
    if not isinstance(schema, dict):
        return False
    own = schema.keys() - ABOUT
    if own & {"allOf", "oneOf"} or (own & COMBINING and len(own) > 1):
        return True
    return any(_combines(item) for key, value in schema.items() for item in _subschemas(key, value))


def _subschemas(key: str, value: Any) -> list[Any]:
    if key in SCHEMAS:
        return value if isinstance(value, list) else [value]
    if key in NAMED and isinstance(value, dict):
        return list(value.values())
    return []
