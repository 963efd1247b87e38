"""Chats with tools, as clients send them, for tests of templates and of parsers."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "days": {"type": "integer", "description": "How many"},
                "parts": {"type": "array", "items": {"type": "string"}, "description": "Of it"},
            },
            "required": ["city"],
        },
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number", "description": "One"}, "b": {"type": "number", "description": "Another"}},
            "required": ["a", "b"],
        },
    },
}
TOOLS = [WEATHER, ADD]
USER = {"role": "user", "content": "How is the weather in Zürich?"}
SYSTEM = {"role": "system", "content": "You are short."}
WEATHER_ARGUMENTS = {"city": 'Zürich "Nord"', "days": 3, "parts": ["wind", "rain"]}
ADD_ARGUMENTS = {"a": 1, "b": 2.5}


def call(name: str, arguments: dict[str, Any], number: int) -> dict[str, Any]:
    """A call of an earlier turn."""
    return {"type": "function", "id": f"call_{number}", "function": {"name": name, "arguments": arguments}}


ONE_CALL = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", WEATHER_ARGUMENTS, 0)]}
TWO_CALLS = {"role": "assistant", "content": "", "tool_calls": [*ONE_CALL["tool_calls"], call("add", ADD_ARGUMENTS, 1)]}
RESULTS = [
    {"role": "tool", "content": "sunny", "tool_call_id": "call_0", "tool_name": "get_weather"},
    {"role": "tool", "content": "3.5", "tool_call_id": "call_1", "tool_name": "add"},
]
