"""Items of a response, in and out: what a conversation is made of at OpenAI's Responses. Pure.

Thoughts, words and calls are items of their own there; a turn of ours holds them together until something else comes.
"""

from __future__ import annotations

from typing import Any

import orjson

from vllama_agent.apis import fields
from vllama_agent.apis.messages import ROLES
from vllama_agent.engines.base import Message
from vllama_core.errors import InvalidRequest

TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
KINDS = "message, function_call, function_call_output or reasoning"


def turns(value: Any) -> tuple[Message, ...]:
    """`input`: a text, or items.

    :raises InvalidRequest: names the field.
    """
    if isinstance(value, str):
        return (Message(role="user", content=value),)
    if value is None:
        raise InvalidRequest("input is required", field="input")
    if not isinstance(value, list):
        raise fields.wrong_type("input", "a string or an array of items", value)
    if not value:
        raise InvalidRequest("input is empty; send at least one item", field="input")
    made = _Turns()
    for index, item in enumerate(value):
        made.add(item, f"input[{index}]")
    return made.all()


class _Turns:
    """Turns, as items come."""

    def __init__(self) -> None:
        self._made: list[Message] = []
        self._names: dict[str, str] = {}
        """Of each call's tool, by the call's id."""
        self._thoughts: list[str] = []
        self._words: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def add(self, item: Any, path: str) -> None:
        if not isinstance(item, dict):
            raise fields.wrong_type(path, "an object", item)
        match item.get("type"):
            case None | "message":
                self._message(item, path)
            case "reasoning":
                self._reasoning(item, path)
            case "function_call":
                self._calls.append(self._call(item, path))
            case "function_call_output":
                self._flush()
                self._made.append(self._result(item, path))
            case kind:
                raise InvalidRequest(f"{path}.type must be {KINDS}, not {fields.shown(kind)}", field=f"{path}.type")

    def all(self) -> tuple[Message, ...]:
        self._flush()
        return tuple(self._made)

    def _flush(self) -> None:
        """End the assistant's turn, if one is being put together."""
        if not (self._thoughts or self._words or self._calls):
            return
        extra: dict[str, Any] = {"thinking": "\n".join(self._thoughts)} if self._thoughts else {}
        extra |= {"tool_calls": self._calls} if self._calls else {}
        self._made.append(Message(role="assistant", content="".join(self._words), extra=extra))
        self._thoughts, self._words, self._calls = [], [], []

    def _message(self, item: dict[str, Any], path: str) -> None:
        role = ROLES.get(fields.text(item, "role", f"{path}.") or "")
        if role is None or role == "tool":
            raise InvalidRequest(f"{path}.role must be user, assistant, system or developer", field=f"{path}.role")
        content = fields.joined(item.get("content"), f"{path}.content", _part)
        if role != "assistant":
            self._flush()
            self._made.append(Message(role=role, content=content))
        else:
            if self._words or self._calls:
                self._flush()
            self._words.append(content)

    def _reasoning(self, item: dict[str, Any], path: str) -> None:
        """What is encrypted is for OpenAI's own servers."""
        if self._words or self._calls:
            self._flush()
        for key in ("content", "summary"):
            if item.get(key) and (text := fields.joined(item[key], f"{path}.{key}", _part)):
                self._thoughts.append(text)
                return

    def _call(self, item: dict[str, Any], path: str) -> dict[str, Any]:
        identifier, name = fields.required(item, "call_id", f"{path}."), fields.required(item, "name", f"{path}.")
        try:
            arguments = orjson.loads(fields.text(item, "arguments", f"{path}.") or "{}")
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise InvalidRequest(f"{path}.arguments must hold a JSON object", field=f"{path}.arguments")
        self._names[identifier] = name
        return {"type": "function", "id": identifier, "function": {"name": name, "arguments": arguments}}

    def _result(self, item: dict[str, Any], path: str) -> Message:
        identifier = fields.required(item, "call_id", f"{path}.")
        name = {"tool_name": self._names[identifier]} if identifier in self._names else {}
        content = fields.joined(item.get("output"), f"{path}.output", _part)
        return Message(role="tool", content=content, extra={"tool_call_id": identifier} | name)


def _part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise fields.wrong_type(path, "an object", part)
    kind = part.get("type")
    if kind == "refusal":
        return fields.text(part, "refusal", f"{path}.") or ""
    if isinstance(kind, str) and kind in TEXTS:
        return fields.text(part, "text", f"{path}.") or ""
    raise InvalidRequest(
        f"{path}.type must be input_text or output_text; images and files are not yet supported by this version of vllama",
        field=f"{path}.type",
    )
