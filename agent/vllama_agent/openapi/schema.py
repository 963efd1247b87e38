"""Words for JSON Schema (2020-12), in which OpenAPI 3.1 describes bodies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
STRINGS: Schema = {"type": "array", "items": STRING}
TOKEN_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}
TIME: Schema = {"type": "string", "format": "date-time"}
NANOSECONDS: Schema = {"type": "integer", "minimum": 1, "description": "Nanoseconds."}
ARGUMENTS: Schema = {"type": ["object", "string", "null"], "description": "An object, or a string that holds one as JSON."}
LOGIT_BIAS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]{1,9}$"},
    "additionalProperties": {"type": ["number", "null"], "minimum": -100, "maximum": 100},
    "description": "Token id: what is added to its logit.",
}


def ref(name: str) -> Schema:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema], *, required: Sequence[str] = (), description: str = "") -> Schema:
    """An object; keys that are not named are allowed, and ignored in requests."""
    made: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        made["required"] = list(required)
    return made | ({"description": description} if description else {})


def reply(properties: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    """An object that we send: every key is there but the optional ones."""
    return record(properties, required=[name for name in properties if name not in optional])


def within(low: float, high: float, *, whole: bool = False) -> Schema:
    """A number; infinite bounds are none. `whole`: fractions are cut off, so numbers that have some are taken too."""
    # as floats: 2**64 is the bound of a seed, and more than our JSON writer takes for an integer
    bounds = {name: float(bound) for name, bound in (("minimum", low), ("maximum", high)) if math.isfinite(bound)}
    return {"type": "number", **bounds, **({"description": "A whole number; a fraction is cut off."} if whole else {})}


def optional(schema: Schema, description: str = "") -> Schema:
    """A field of a request: null equals absent."""
    nullable = dict(schema)
    if isinstance(schema.get("type"), str):
        nullable["type"] = [schema["type"], "null"]
    elif "type" in schema:
        nullable["type"] = [*schema["type"], "null"]
    else:
        nullable = {"anyOf": [schema, {"type": "null"}]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable | ({"description": description} if description else {})


def nothing(what: str) -> Schema:
    """A field that this version refuses unless it asks for nothing."""
    return {"enum": [None, False, "", []], "description": f"Not yet supported: {what}."}
