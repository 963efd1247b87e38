"""Turns of a chat, as Anthropic spells them: messages of blocks. Pure.

A turn of ours has one text, at most one thought, and calls; a result of a tool is a turn of its own, where Anthropic puts it into the
user's message.
"""

from __future__ import annotations

from typing import Any

from vllama_agent.apis import fields
from vllama_agent.engines.base import Message
from vllama_core.errors import InvalidRequest

ROLES = ("user", "assistant", "system")
REFUSED = {
    "image": "images are not yet supported by this version of vllama",
    "document": "documents are not yet supported by this version of vllama; send their text",
}
SERVERS = "it comes of a tool that runs at Anthropic, which vllama does not have"


def turns(system: Any, messages: Any) -> tuple[Message, ...]:
    """`system` and `messages`.

    :raises InvalidRequest: names the field.
    """
    first = _texts(system, "system") if system is not None else ""
    if messages is None:
        raise InvalidRequest("messages is required", field="messages")
    if not isinstance(messages, list):
        raise fields.wrong_type("messages", "an array", messages)
    if not messages:
        raise InvalidRequest("messages is empty; send at least one", field="messages")
    made = [Message(role="system", content=first)] if first else []
    names: dict[str, str] = {}
    for index, item in enumerate(messages):
        made += _turns(item, f"messages[{index}]", names)
    return tuple(made)


def _turns(item: Any, path: str, names: dict[str, str]) -> list[Message]:
    """:param names: of each call's tool by the call's id; calls of this message are added."""
    if not isinstance(item, dict):
        raise fields.wrong_type(path, "an object", item)
    role = fields.text(item, "role", f"{path}.")
    content = item.get("content")
    match role:
        case "assistant":
            return [_assistant(content, f"{path}.content", names)]
        case "user":
            return _user(content, f"{path}.content", names)
        case "system":
            return [Message(role="system", content=_texts(content, f"{path}.content"))]
        case _:
            raise InvalidRequest(f"{path}.role must be one of {', '.join(ROLES)}, not {fields.shown(role)}", field=f"{path}.role")


def _user(content: Any, path: str, names: dict[str, str]) -> list[Message]:
    if isinstance(content, str):
        return [Message(role="user", content=content)]
    made: list[Message] = []
    words: list[str] = []

    def say() -> None:
        if words:
            made.append(Message(role="user", content="\n".join(words)))
            words.clear()

    for block, at in _blocks(content, path):
        match block["type"]:
            case "text":
                words.append(_text(block, at))
            case "tool_result":
                say()
                made.append(_result(block, at, names))
            case kind:
                raise _wrong(kind, at, "text or tool_result")
    say()
    return made or [Message(role="user", content="")]


def _assistant(content: Any, path: str, names: dict[str, str]) -> Message:
    if isinstance(content, str):
        return Message(role="assistant", content=content)
    words: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, at in _blocks(content, path):
        match block["type"]:
            case "text":
                words.append(_text(block, at))
            case "thinking":
                thoughts.append(fields.text(block, "thinking", f"{at}.") or "")
            case "redacted_thinking":
                continue  # it is encrypted, for Anthropic's own servers
            case "tool_use":
                calls.append(_call(block, at, names))
            case kind:
                raise _wrong(kind, at, "text, thinking or tool_use")
    extra: dict[str, Any] = {"thinking": "\n".join(thoughts)} if any(thoughts) else {}
    return Message(role="assistant", content="".join(words), extra=extra | ({"tool_calls": calls} if calls else {}))


def _call(block: dict[str, Any], path: str, names: dict[str, str]) -> dict[str, Any]:
    identifier, name = fields.required(block, "id", f"{path}."), fields.required(block, "name", f"{path}.")
    arguments = block.get("input")
    if not isinstance(arguments, dict | None):
        raise fields.wrong_type(f"{path}.input", "an object", arguments)
    names[identifier] = name
    return {"type": "function", "id": identifier, "function": {"name": name, "arguments": arguments or {}}}


def _result(block: dict[str, Any], path: str, names: dict[str, str]) -> Message:
    """The model reads of an error what the client wrote: templates have no place for `is_error`."""
    identifier = fields.required(block, "tool_use_id", f"{path}.")
    fields.flag(block, "is_error", False, f"{path}.")
    content = block.get("content")
    name = {"tool_name": names[identifier]} if identifier in names else {}
    text = _texts(content, f"{path}.content") if content is not None else ""
    return Message(role="tool", content=text, extra={"tool_call_id": identifier} | name)


def _texts(value: Any, path: str) -> str:
    """A string, or blocks of text."""
    if isinstance(value, str):
        return value
    found = []
    for block, at in _blocks(value, path):
        if block["type"] != "text":
            raise _wrong(block["type"], at, "text")
        found.append(_text(block, at))
    return "\n".join(found)


def _blocks(value: Any, path: str) -> list[tuple[dict[str, Any], str]]:
    """Each block with its path."""
    if not isinstance(value, list):
        raise fields.wrong_type(path, "a string or an array of blocks", value)
    found = []
    for index, block in enumerate(value):
        at = f"{path}[{index}]"
        if not isinstance(block, dict):
            raise fields.wrong_type(at, "an object", block)
        fields.required(block, "type", f"{at}.")
        found.append((block, at))
    return found


def _text(block: dict[str, Any], path: str) -> str:
    text = fields.text(block, "text", f"{path}.")
    if text is None:
        raise InvalidRequest(f"{path}.text is required", field=f"{path}.text")
    return text


def _wrong(kind: str, path: str, wanted: str) -> InvalidRequest:
    why = REFUSED.get(kind) or (SERVERS if kind.startswith(("server_", "web_", "mcp_", "code_", "container_")) else None)
    return InvalidRequest(f"{path}.type must be {wanted}" + (f": {why}" if why else f", not {fields.shown(kind)}"), field=f"{path}.type")
