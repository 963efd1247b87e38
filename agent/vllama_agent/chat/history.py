"""A chat as templates read it: every name that one of them has for the same thing, and calls whose arguments print as JSON. Pure.

Templates disagree: on what a thought is called, on whether the arguments of a call are an object or its text, on what an id looks like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""Mistral's templates refuse every other id."""
READS_NONE = re.compile(r"assistant['\"] and message(?:\.content|\[['\"]content['\"]\]) is none")
"""A template that asks this (DeepSeek R1's) wants a call without words to have the content None; others would stumble over it."""
ONE_CALL = re.compile(r"only supports single tool-calls|tool_calls\[0\]")
"""Templates that refuse a message with several calls (Llama 3) or show its first one only (gpt-oss, GigaChat): each call becomes a
message of its own, with its result behind it."""

WORDS = ("content", "thinking", "reasoning", "reasoning_content")


class Arguments(dict[str, Any]):
    """A call's arguments: an object for templates that walk through it, and its JSON for those that print it or add it to a text."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


def of(messages: Sequence[dict[str, Any]], template: str, *, ids: str = "") -> list[dict[str, Any]]:
    """The messages for a template.

    :param ids: how the model's ids of calls look: ``mistral``, ``kimi``, or empty for any.
    """
    empty = None if READS_NONE.search(template) else ""
    found = _Calls(ids)
    made = [_message(message, found, empty) for message in messages]
    return _one_by_one(made) if ONE_CALL.search(template) else made


class _Calls:
    """The calls so far, and which of them wait for a result."""

    def __init__(self, ids: str) -> None:
        self._ids = ids
        self._count = 0
        self._renamed: dict[str, dict[str, Any]] = {}
        self._waiting: list[dict[str, Any]] = []

    def made(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        made = {**call, "id": self._id(call.get("id"), function["name"])}
        # nothing else: some templates print the whole object, and replies of ours have an index in it
        made["function"] = {"name": function["name"], "arguments": Arguments(function["arguments"])}
        self._count += 1
        self._waiting.append(made)
        if call.get("id"):
            self._renamed[call["id"]] = made
        return made

    def answered(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The call that a result belongs to: by its id, by its tool's name, else the oldest that waits."""
        call = self._renamed.get(message.get("tool_call_id") or "")
        name = message.get("tool_name")
        if call is None:
            named = (waiting for waiting in self._waiting if not name or waiting["function"]["name"] == name)
            call = next(named, None)
        if call is not None and call in self._waiting:
            self._waiting.remove(call)
        return call

    def _id(self, given: str | None, name: str) -> str:
        if self._ids == "kimi":
            return f"functions.{name}:{self._count}"
        if self._ids == "mistral":
            return given if given and MISTRAL_ID.fullmatch(given) else f"call{self._count:05d}"
        return given or f"call_{self._count}"


def _message(message: dict[str, Any], calls: _Calls, empty: str | None) -> dict[str, Any]:
    made = dict(message)
    if message["role"] == "tool":
        call = calls.answered(message)
        name = message.get("tool_name") or (call["function"]["name"] if call else None)
        made |= {"name": name, "tool_name": name} if name else {}
        made |= {"tool_call_id": call["id"]} if call else {}
    if thought := message.get("thinking"):
        made |= {"reasoning_content": thought, "reasoning": thought}
    if message.get("tool_calls"):
        made["tool_calls"] = [calls.made(call) for call in message["tool_calls"]]
        made["content"] = message["content"] or empty
    return made


def _one_by_one(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every call in a message of its own, its results behind it; words and thoughts stay with the first of a message."""
    parted = {call["id"] for message in messages if len(_calls(message)) > 1 for call in _calls(message)}
    results: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message["role"] == "tool" and message.get("tool_call_id") in parted:
            results.setdefault(message["tool_call_id"], []).append(message)
    made = []
    for message in messages:
        if len(_calls(message)) > 1:
            words = {key: value for key, value in message.items() if key not in WORDS}
            for number, call in enumerate(_calls(message)):
                made.append({**(words | {"content": ""} if number else message), "tool_calls": [call]})
                made += results.pop(call["id"], [])
        elif message["role"] != "tool" or message.get("tool_call_id") not in parted:
            made.append(message)
    return made


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return message.get("tool_calls") or []
