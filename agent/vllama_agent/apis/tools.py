"""Tools and thinking in requests, as both families spell them."""

from __future__ import annotations

from typing import Any

from vllama_agent.apis import fields
from vllama_core.errors import InvalidRequest

LEVELS = ("high", "medium", "low", "max")
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max", "xhigh": "max", "ultra": "max"}
"""OpenAI's reasoning efforts as levels of thinking, as Ollama maps them."""
MAX_TOOLS = 1024


def tools(value: Any) -> tuple[dict[str, Any], ...]:
    """`tools`: functions with a name. What else they hold is the template's business, and its order is kept.

    :raises InvalidRequest: names the field.
    """
    if fields.asks_nothing(value):
        return ()
    if not isinstance(value, list):
        raise fields.wrong_type("tools", "an array", value)
    if len(value) > MAX_TOOLS:
        raise InvalidRequest(f"tools has {len(value)} items; at most {MAX_TOOLS} can be offered", field="tools")
    return tuple(_tool(item, f"tools[{index}]") for index, item in enumerate(value))


def _tool(item: Any, path: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise fields.wrong_type(path, "an object", item)
    kind = fields.text(item, "type", f"{path}.")
    if kind not in (None, "function"):
        raise InvalidRequest(f"{path}.type must be function, not {fields.shown(kind)}", field=f"{path}.type")
    function = item.get("function")
    if not isinstance(function, dict):
        raise fields.wrong_type(f"{path}.function", "an object", function)
    name = fields.text(function, "name", f"{path}.function.")
    if not name:
        raise InvalidRequest(f"{path}.function.name is required", field=f"{path}.function.name")
    fields.text(function, "description", f"{path}.function.")
    if not isinstance(function.get("parameters"), dict | None):
        raise fields.wrong_type(f"{path}.function.parameters", "an object", function["parameters"])
    return {**item, "type": "function", "function": _filled(function)}


def _filled(function: dict[str, Any]) -> dict[str, Any]:
    """With what templates read without asking whether it is there; the order of the rest is kept, since it is part of the prompt."""
    made = {key: value for key, value in function.items() if value is not None}
    made.setdefault("description", "")
    parameters = dict(made.get("parameters") or {})
    parameters.setdefault("type", "object")
    if not isinstance(parameters.get("properties"), dict):
        parameters["properties"] = {}
    return {**made, "parameters": parameters}


Tools = tuple[dict[str, Any], ...]


def chosen(choice: Any, offered: Tools) -> tuple[Tools, tuple[str, ...]]:
    """The tools that the model is shown, and the names of those of which one has to be called; none = it decides.

    :param choice: OpenAI's `tool_choice`, as chats have it.
    :raises InvalidRequest: names the field.
    """
    match choice:
        case None | "auto":
            return offered, ()
        case "none":
            return (), ()
        case "required":
            return offered, _demanded(_names(offered), offered)
        case {"type": "function", "function": {"name": str(name)}}:
            return offered, _demanded((name,), offered)
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(some)}}:
            wanted = _demanded(tuple(_chosen_name(item) for item in some), offered)
            allowed = tuple(tool for tool in offered if tool["function"]["name"] in wanted)
            return allowed, wanted if mode == "required" else ()
        case str():
            raise InvalidRequest(f"tool_choice must be none, auto, required or a tool, not {fields.shown(choice)}", field="tool_choice")
        case _:
            raise InvalidRequest("tool_choice must be none, auto, required, a tool by its name, or allowed_tools", field="tool_choice")


def _demanded(wanted: tuple[str, ...], offered: Tools) -> tuple[str, ...]:
    if not wanted:
        raise InvalidRequest("tool_choice demands a call, and there are no tools", field="tool_choice")
    if unknown := set(wanted) - set(_names(offered)):
        raise InvalidRequest(f"tool_choice names {fields.shown(min(unknown))}, which is not among the tools", field="tool_choice")
    return wanted


def _names(offered: Tools) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tool["function"]["name"] for tool in offered))


def _chosen_name(item: Any) -> str:
    match item:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
        case _:
            raise InvalidRequest("tool_choice.allowed_tools.tools must list functions by their names", field="tool_choice")


def think(value: Any) -> bool | str | None:
    """Ollama's `think`.

    :raises InvalidRequest: in Ollama's words.
    """
    match value:
        case None | "" | []:
            return None
        case bool():
            return value
        case str() if value in LEVELS:
            return value
        case str():
            words = 'must be "high", "medium", "low", "max", true, or false'
            raise InvalidRequest(f"invalid think value: {fields.shown(value)} ({words})", field="think")
        case _:
            raise InvalidRequest(f"think must be a boolean or string (not {fields.type_name(value)})", field="think")


def effort(value: Any, path: str) -> bool | str | None:
    """OpenAI's reasoning effort: a level, False for none, None where nothing is asked.

    :raises InvalidRequest: names the field.
    """
    if value in (None, "") or value is False:
        return None
    if value == "none":
        return False
    if isinstance(value, str) and value in EFFORTS:
        return EFFORTS[value]
    raise InvalidRequest(f"{path} must be one of none, {', '.join(EFFORTS)}, not {fields.shown(value)}", field=path)
