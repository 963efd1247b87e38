"""What stands between the markers of a call: from its text to the calls in it. One decoder for each way of writing.

A decoder takes the opening marker, the text after it, and the offered tools (name → schemas of its parameters). It returns the calls and
what follows them, or None where the text is no call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vllama_agent.chat.events import Call
from vllama_agent.chat.parsers import literals, tags, values

Tools = dict[str, dict[str, Any]]
Found = tuple[list[Call], str] | None
BETWEEN = " \t\r\n,;"
"""What may stand between two calls in JSON: Llama separates them by semicolons, MiniMax by line feeds."""
FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*(?:```\s*)?\Z", re.DOTALL)
MISTRAL = re.compile(r"\s*(?:\[TOOL_CALLS\]\s*)?([\w.\-]+)\s*(?:\[CALL_ID\]\s*[\w\-]*\s*)?(?:\[ARGS\])?\s*(?=\{)")
KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?(.+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>(.*?)<\|tool_call_end\|>", re.DOTALL
)
SOLAR = re.compile(r"<\|tool_call:begin\|>.*?<\|tool_call:name\|>(.*?)<\|tool_call:args\|>(.*?)<\|tool_call:end\|>", re.DOTALL)
DEEPSEEK = re.compile(r"<｜tool▁call▁begin｜>(.*?)<｜tool▁sep｜>(.*?)(?:<｜tool▁call▁end｜>|(?=<｜tool▁call▁begin｜>)|\Z)", re.DOTALL)


class Quotes:
    """Finds a marker in a growing text of JSON, but not in its strings. Each character is looked at about once."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._pattern = re.compile(r'\\.|"|' + re.escape(marker), re.DOTALL)
        self._at = 0
        self._inside = False

    def find(self, text: str) -> int:
        """Where the marker stands outside of strings; -1: nowhere yet.

        :param text: grows from one call to the next; nothing in front changes.
        """
        for found in self._pattern.finditer(text, self._at):
            if found[0] == self._marker and not self._inside:
                return found.start()
            self._inside ^= found[0] == '"'
            self._at = found.end()
        self._at = max(self._at, len(text) - max(1, len(self._marker) - 1))
        return -1


def _json(_opener: str, body: str, _tools: Tools) -> Found:
    """Objects with a name and arguments, alone, in a row or in a list."""
    fenced = FENCE.fullmatch(body)
    text = fenced[1] if fenced else body
    calls: list[Call] = []
    at = _skip(text, 0)
    while at < len(text) and text[at] in "{[":
        try:
            value, at = values.leading(text, at)
        except ValueError:
            break
        for item in value if isinstance(value, list) else [value]:
            call = _call(item)
            if call is None:
                return None
            calls.append(call)
        at = _skip(text, at)
    return (calls, text[at:]) if calls else None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BETWEEN:
        at += 1
    return at


def _call(item: Any) -> Call | None:
    """A call of `{"name", "arguments"}`, by the names that families have for the two."""
    if not isinstance(item, dict):
        return None
    inner = item.get("function")
    if isinstance(inner, dict):
        return _call(inner)
    name = item.get("name") or item.get("tool_name") or inner
    arguments = item.get("arguments", item.get("parameters", {}))
    return _made(name, arguments)


def _made(name: Any, arguments: Any) -> Call | None:
    if isinstance(arguments, str):
        try:
            arguments = values.loads(arguments) if arguments.strip() else {}
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments or {}, dict):
        return None
    return Call(name, arguments or {})


def _by_name(_opener: str, body: str, _tools: Tools) -> Found:
    """`[{"the tool's name": {arguments}}]`."""
    try:
        value = values.loads(body)
    except ValueError:
        return None
    items = value if isinstance(value, list) else [value]
    calls = [_made(name, arguments) for item in items if isinstance(item, dict) for name, arguments in item.items()]
    return _all(calls)


def _all(calls: list[Call | None]) -> Found:
    whole = [call for call in calls if call is not None]
    return (whole, "") if whole and len(whole) == len(calls) else None


def _functools(opener: str, body: str, tools: Tools) -> Found:
    return _json(opener, f"[{body}" if opener.endswith("[") else body, tools)


def _mistral(opener: str, body: str, tools: Tools) -> Found:
    """A list of objects, or names with arguments after them, each after a marker."""
    if body.lstrip().startswith("["):
        return _json(opener, body, tools)
    calls: list[Call] = []
    at = 0
    while head := MISTRAL.match(body, at):
        try:
            arguments, at = values.leading(body, head.end())
        except ValueError:
            break
        calls.append(Call(head[1], arguments))
    return (calls, body[at:]) if calls else None


def _patterned(pattern: re.Pattern[str]) -> Callable[[str, str, Tools], Found]:
    """A decoder for calls of a name and its arguments in JSON."""

    def decode(_opener: str, body: str, _tools: Tools) -> Found:
        return _all([_made(name.strip(), arguments) for name, arguments in pattern.findall(body)])

    return decode


def _deepseek(_opener: str, body: str, _tools: Tools) -> Found:
    """`function⟨sep⟩name`, a fence of JSON (V3, R1); `name⟨sep⟩{…}` (V3.1)."""
    calls = []
    for before, after in DEEPSEEK.findall(body):
        name, arguments = before.strip(), after
        if name in ("", "function"):
            name, _, arguments = after.strip().partition("\n")
        fenced = FENCE.fullmatch(arguments)
        calls.append(_made(name.strip(), fenced[1] if fenced else arguments))
    return _all(calls)


def _functionary(opener: str, body: str, tools: Tools) -> Found:
    """`<function=name>{…}</function>`."""
    if opener != "<function=":
        return _llama(opener, body, tools)
    name, _, arguments = body.partition(">")
    return _all([_made(name.strip(), arguments)])


def _llama(opener: str, body: str, tools: Tools) -> Found:
    """JSON or Python; without a marker before it, only calls of tools that there are."""
    found = _json(opener, body, tools) or _python(opener, body, tools)
    if found is None or opener:
        return found
    return found if all(call.name in tools for call in found[0]) and not found[1].strip() else None


def _python(_opener: str, body: str, _tools: Tools) -> Found:
    calls = literals.python_calls(body)
    return (calls, "") if calls else None


def _gemma(opener: str, body: str, _tools: Tools) -> Found:
    call = literals.gemma_call(body, quote="<escape>" if opener == "<start_function_call>" else '<|"|>')
    return ([call], "") if call else None


def _tool_call(opener: str, body: str, tools: Tools) -> Found:
    """What stands in `<tool_call>`: models of one family at times write as those of another, and it cannot be mistaken."""
    begun = body.lstrip()
    if opener == "<function=":
        return _whole(tags.functions(f"{opener}{body}</function>", tools))
    if begun.startswith(("{", "[")):
        return _json(opener, body, tools)
    return _whole(tags.functions(body, tools) if "<function=" in body else tags.arg_keys(body, tools))


def _invokes(_opener: str, body: str, tools: Tools) -> Found:
    return _whole(tags.invokes(body, tools))


def _named(_opener: str, body: str, tools: Tools) -> Found:
    return _whole(tags.named(body, tools))


def _whole(calls: list[Call]) -> Found:
    return (calls, "") if calls else None


DECODERS: dict[str, Callable[[str, str, Tools], Found]] = {
    "json": _json,
    "by_name": _by_name,
    "functools": _functools,
    "mistral": _mistral,
    "kimi": _patterned(KIMI),
    "solar": _patterned(SOLAR),
    "deepseek": _deepseek,
    "functionary": _functionary,
    "llama": _llama,
    "python": _python,
    "gemma": _gemma,
    "tool_call": _tool_call,
    "invokes": _invokes,
    "named": _named,
}
