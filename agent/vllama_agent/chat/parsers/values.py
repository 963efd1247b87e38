"""Reading JSON and typed texts out of what a model wrote. Everything that comes out can be written as JSON again."""

from __future__ import annotations

import ast
import json
from typing import Any

import orjson

_DECODER = json.JSONDecoder()
LONGEST_PYTHON = 100_000
"""Characters of Python that are parsed at all: its parser is slow, and the whole agent waits for it."""
LITERALS = {"True": True, "False": False, "None": None}


def loads(text: str) -> Any:
    """The value of a JSON text.

    :raises ValueError: it is none.
    """
    # a lone surrogate cannot be encoded: such a text is no JSON either
    return orjson.loads(text.encode("utf-8", "replace"))


def leading(text: str, at: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at a place, and where it ends.

    :raises ValueError: none begins there, or it is not whole.
    """
    try:
        end = _DECODER.raw_decode(text, at)[1]
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return loads(text[at:end]), end


def typed(text: str, schema: Any) -> Any:
    """A text as the value that a parameter's schema wants. What is not declared is taken for JSON where it is some, else for a text."""
    allowed = types(schema)
    if allowed == {"string"}:
        return text
    try:
        value = _literal(text.strip())
    except ValueError:
        return text
    # of a parameter that may be a text, only what another of its types allows is converted
    return value if "string" not in allowed or _kind(value) in allowed else text


def _literal(text: str) -> Any:
    """JSON, or Python's way of writing the same: some templates print objects so, and models learn it from them."""
    if text in LITERALS:
        return LITERALS[text]
    try:
        return loads(text)
    except ValueError:
        if not text.startswith(("{", "[")) or len(text) > LONGEST_PYTHON:
            raise
    try:
        return loads(dumps(ast.literal_eval(text)))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def types(schema: Any) -> set[str]:
    """The types that a schema allows, as JSON Schema names them; none = it does not say."""
    if not isinstance(schema, dict):
        return set()
    declared = schema.get("type")
    found = {item for item in (declared if isinstance(declared, list) else [declared]) if isinstance(item, str)}
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else ():
            found |= types(part)
    if not found and isinstance(schema.get("enum"), list):
        found = {_kind(item) for item in schema["enum"]}
    return found


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def dumps(value: Any) -> str:
    """A value as JSON; integers of any size.

    :raises ValueError: JSON has no such value: NaN, bytes, sets …
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise ValueError(str(error)) from None
