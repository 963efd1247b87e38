"""From a model's raw text to thoughts, words and calls, as it comes. Pure.

A parser takes pieces of text, however they were cut, and returns what they make certain; the end of the answer decides the rest. What
could still become a marker is held back, and what looked like a call but is none comes out as text: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vllama_agent.chat.events import Begun, Call, Event, Text, Thought
from vllama_agent.chat.families import Markup
from vllama_agent.chat.parsers.harmony import HarmonyParser
from vllama_agent.chat.parsers.tagged import TaggedParser

__all__ = ["Begun", "Call", "Event", "Parser", "Text", "Thought", "make", "read", "schemas"]


class Parser(Protocol):
    """One answer's parser."""

    def feed(self, text: str) -> list[Event]:
        """What became certain with this piece."""
        ...

    def finish(self) -> list[Event]:
        """The rest, at the answer's end."""
        ...


def make(markup: Markup, tools: Sequence[Mapping[str, Any]], begun: Begun, *, verbatim: bool = False) -> Parser | None:
    """A parser for an answer; None: the model's text needs none.

    :param tools: those that the request offers; without any, calls are not looked for.
    :param verbatim: once words for the reader begin, nothing of them is markup.
    """
    if markup.family is not None and markup.family.name == "harmony":
        return HarmonyParser(begun, verbatim=verbatim)
    calls = markup.family.calls if markup.family is not None and tools else None
    if markup.thought is None and calls is None:
        return None
    return TaggedParser(markup.thought, calls, schemas(tools), begun, verbatim=verbatim)


def schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each tool's parameters by name: the JSON schemas of its properties."""
    found = {}
    for tool in tools:
        function = tool.get("function") or tool
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        found[str(function["name"])] = properties if isinstance(properties, dict) else {}
    return found


def read(parser: Parser, text: str) -> list[Event]:
    """A whole answer at once."""
    return [*parser.feed(text), *parser.finish()]
