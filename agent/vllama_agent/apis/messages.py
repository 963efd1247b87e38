"""Turns of a chat, as the two families spell them."""

from __future__ import annotations

from typing import Any

import orjson

from vllama_agent.apis import fields
from vllama_agent.engines.base import Message
from vllama_core.errors import InvalidRequest

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""`developer` is OpenAI's newer word for system; chat templates know only the old one."""
TEXT_PARTS = ("text", "input_text", "output_text")


def ollama(value: Any) -> tuple[Message, ...]:
    """`messages` of /api/chat."""
    return tuple(_ollama_message(item, f"messages[{index}]") for index, item in enumerate(_items(value)))


def openai(value: Any) -> tuple[Message, ...]:
    """`messages` of /v1/chat/completions. A tool's answer gets the name that its call had."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    for index, item in enumerate(_items(value)):
        message = _openai_message(item, f"messages[{index}]", names)
        messages.append(message)
        for call in message.extra.get("tool_calls", ()):
            if isinstance(call.get("id"), str):
                names[call["id"]] = call["function"]["name"]
    return tuple(messages)


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise fields.wrong_type("messages", "an array", value)
    return value


def _ollama_message(item: Any, path: str) -> Message:
    role = _role(item, path)
    if not fields.asks_nothing(item.get("images")):
        raise InvalidRequest(f"{path}.images: images are not yet supported by this version of vllama", field=f"{path}.images")
    extra = _texts(item, path, "thinking", "tool_name", "tool_call_id")
    calls = _tool_calls(item.get("tool_calls"), f"{path}.tool_calls")
    return Message(role=role, content=fields.text(item, "content", f"{path}.") or "", extra=extra | calls)


def _openai_message(item: Any, path: str, names: dict[str, str]) -> Message:
    role = _role(item, path)
    calls = _tool_calls(item.get("tool_calls"), f"{path}.tool_calls")
    extra = _texts(item, path, "tool_call_id") | calls
    reasoning = fields.text(item, "reasoning", f"{path}.") or fields.text(item, "reasoning_content", f"{path}.")
    if reasoning:
        extra["thinking"] = reasoning
    if role == "tool" and (name := names.get(extra.get("tool_call_id", ""))):
        extra["tool_name"] = name
    content = item.get("content")
    if content is None and not calls:
        raise InvalidRequest(f"{path}.content is required unless there are tool_calls", field=f"{path}.content")
    words = "" if content is None else fields.joined(content, f"{path}.content", _part)
    return Message(role=role, content=words, extra=extra)


def _role(item: Any, path: str) -> str:
    if not isinstance(item, dict):
        raise fields.wrong_type(path, "an object", item)
    role = fields.text(item, "role", f"{path}.")
    known = ROLES.get((role or "").lower())
    if known is None:
        asked = "is required" if not role else f"is unknown: {fields.shown(role)}"
        raise InvalidRequest(f"{path}.role {asked}; it must be one of {', '.join(ROLES)}", field=f"{path}.role")
    return known


def _part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise fields.wrong_type(path, "an object", part)
    kind = part.get("type")
    if isinstance(kind, str) and kind in TEXT_PARTS:
        return fields.text(part, "text", f"{path}.") or ""
    raise InvalidRequest(
        f"{path}.type must be text; images, audio and files are not yet supported by this version of vllama", field=f"{path}.type"
    )


def _texts(item: dict[str, Any], path: str, *keys: str) -> dict[str, Any]:
    found = ((key, fields.text(item, key, f"{path}.")) for key in keys)
    return {key: value for key, value in found if value}


def _tool_calls(value: Any, path: str) -> dict[str, Any]:
    """Calls of earlier turns with their arguments as an object, which is what templates expect; a JSON string is accepted."""
    if value is None or value == []:
        return {}
    if not isinstance(value, list):
        raise fields.wrong_type(path, "an array", value)
    return {"tool_calls": [_tool_call(call, f"{path}[{index}]") for index, call in enumerate(value)]}


def _tool_call(call: Any, path: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{path}.function must be an object with a name", field=f"{path}.function")
    fields.text(call, "id", f"{path}.")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError:
            arguments = None
    elif arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise InvalidRequest(
            f"invalid tool call arguments: {path}.function.arguments must hold a JSON object", field=f"{path}.function.arguments"
        )
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}
