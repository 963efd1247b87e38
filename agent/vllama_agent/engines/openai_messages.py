"""Messages of a chat as templates know them, and as OpenAI-compatible servers take them. Pure."""

from __future__ import annotations

import json
from typing import Any

from vllama_agent.engines.base import Message


def plain(message: Message) -> dict[str, Any]:
    """A message as templates know it."""
    return {"role": message.role, "content": message.content, **message.extra}


def written(message: dict[str, Any]) -> dict[str, Any]:
    """A message as OpenAI writes it: calls have their arguments as a text, and a result names its call."""
    made = {key: value for key, value in message.items() if key not in ("thinking", "tool_name")}
    if message.get("tool_calls"):
        made["tool_calls"] = [_call(call, number) for number, call in enumerate(message["tool_calls"], 1)]
    if thought := message.get("thinking"):
        made["reasoning"] = thought
    if message["role"] == "tool":
        made |= {"name": message["tool_name"]} if message.get("tool_name") else {}
        made.setdefault("tool_call_id", "call_1")
    return made


def _call(call: dict[str, Any], number: int) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {"id": call.get("id") or f"call_{number}", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
