"""Reading JSON that strangers sent: every accessor returns the asked type or raises `InvalidRequest` naming the field.

`null` equals absent, as in Ollama. Messages never repeat a value that could be prompt text; numbers and short option words are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson

from vllama_core.errors import InvalidRequest, NotYet

MAX_TOKEN_ID = 2**31 - 1
MAX_SHOWN = 40


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a request's body holds.

    :raises InvalidRequest: no body, not UTF-8, not JSON, nested too deeply, or no object.
    """
    if not body.strip():
        raise InvalidRequest("missing request body")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"the request body must be a JSON object, not {type_name(value)}")
    return value


def type_name(value: object) -> str:
    """What JSON calls it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def shown(value: object) -> str:
    """A value as an error may show it: short scalars as JSON, all else by its type."""
    if isinstance(value, (bool, int, float)) or value is None or (isinstance(value, str) and len(value) <= MAX_SHOWN):
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # a lone surrogate, which came in as a key
            return type_name(value)
    return type_name(value)


def wrong_type(path: str, wanted: str, value: object) -> InvalidRequest:
    """The error for a value of another type than wanted."""
    return InvalidRequest(f"{path} must be {wanted}, not {type_name(value)}", field=path)


def text(body: dict[str, Any], key: str, path: str = "") -> str | None:
    """A string, or None where absent."""
    value = body.get(key)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(path + key, "a string", value)


def required(body: dict[str, Any], key: str, path: str = "") -> str:
    """A text that must be there and hold something.

    :raises InvalidRequest: it does not; names the field.
    """
    value = text(body, key, path)
    if not value:
        raise InvalidRequest(f"{path}{key} is required", field=f"{path}{key}")
    return value


def joined(value: Any, path: str, part: Callable[[Any, str], str]) -> str:
    """A string, or an array of parts of one.

    :param part: the text of a part that stands at a path.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong_type(path, "a string or an array of parts", value)
    return "".join(part(item, f"{path}[{index}]") for index, item in enumerate(value))


def flag(body: dict[str, Any], key: str, default: bool, path: str = "") -> bool:
    """A boolean."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise wrong_type(path + key, "a boolean", value)


def integer(body: dict[str, Any], key: str, *, low: int, high: int, path: str = "") -> int | None:
    """An integer within `low..high`, or None where absent. A float is truncated, as Ollama does."""
    value = number(body, key, low=low, high=high, path=path, kind="an integer")
    return None if value is None else int(value)


def number(
    body: dict[str, Any], key: str, *, low: float = -math.inf, high: float = math.inf, path: str = "", kind: str = "a number"
) -> float | int | None:
    """A finite number within `low..high`, or None where absent."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(f"{path}{key} must be {kind}, not {shown(value)}", field=path + key)
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidRequest(f"{path}{key} must be {kind} {range_text(low, high)}, not {shown(value)}", field=path + key)
    return value


def range_text(low: float, high: float) -> str:
    """`from a to b`, with open ends where there is no bound."""
    if math.isinf(low) and math.isinf(high):
        return "that is finite"
    if math.isinf(high):
        return f"of at least {low:g}"
    return f"from {_bound(low)} to {_bound(high)}"


def _bound(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)  # six digits of a large integer are another integer


def strings(value: Any, path: str) -> tuple[str, ...]:
    """An array of strings."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array of strings", value)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise wrong_type(f"{path}[{index}]", "a string", item)
    return tuple(value)


def token_ids(value: Any, path: str) -> tuple[int, ...]:
    """An array of token ids. Whether the vocabulary has them is the engine's to say."""
    if not isinstance(value, list):
        raise wrong_type(path, "an array of token ids", value)
    for index, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= MAX_TOKEN_ID:
            raise InvalidRequest(f"{path}[{index}] must be a token id, not {shown(item)}", field=f"{path}[{index}]")
    return tuple(value)


def logit_bias(value: Any, path: str) -> tuple[tuple[int, float], ...]:
    """`{"token id": bias}`, biases from -100 to 100 as OpenAI has them."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise wrong_type(path, "an object of token ids and biases", value)
    pairs = []
    for key in value:
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= MAX_TOKEN_ID):
            raise InvalidRequest(f"the keys of {path} must be token ids, not {shown(key)}", field=path)
        bias = number(value, key, low=-100, high=100, path=f"{path}.")
        pairs.append((int(key), float(bias or 0)))
    return tuple(pairs)


def json_text(value: dict[str, Any], path: str) -> str:
    """An object as JSON text, its keys in their order."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, or nested too deeply
        raise InvalidRequest(f"{path} is nested too deeply, or holds text that is no Unicode", field=path) from None


def seed(value: int | None) -> int | None:
    """Ollama's seed as the engine takes it: -1 and absent are random, the rest is taken modulo 2**32."""
    return None if value is None or value == -1 else value & 0xFFFFFFFF


def asks_nothing(value: object) -> bool:
    """Whether a field that this version cannot honour may pass: absent, null, false, "" or []."""
    return value is None or value is False or value in ("", [])


def refuse_non_empty(body: dict[str, Any], *keys: str) -> None:
    """Fields that this version cannot honour pass only where they ask for nothing.

    :raises NotYet: one asks for something.
    """
    for key in keys:
        if not asks_nothing(body.get(key)):
            raise NotYet(key)
