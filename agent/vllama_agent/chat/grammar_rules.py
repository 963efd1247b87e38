"""Rules of a grammar in llguidance's dialect of Lark, made as they are needed, and the words that they are written in. Pure.

https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLACES = re.compile(r"\$(name|args|id|number|nl|key|value)")
PATTERNS = {"id": "/[a-zA-Z0-9]{9}/", "number": "/[0-9]{1,2}/", "nl": "/\\n?/"}
"""Nine letters and digits are Mistral's ids."""
ANYTHING = "/(?s:.*)/"
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, as Python's json module writes it. Free white space would let a small model write it until its limit, and what
separates two values could not be forced."""


class NoForm(Exception):
    """The model's calls cannot be demanded; the sentence says why."""


class Rules:
    """Rules of a grammar, as they are needed.

    :param control: ids of the control tokens that markers are made of, by their texts.
    :ivar others: what the names of the arguments' grammars and of the format's begin with.
    """

    def __init__(self, control: Mapping[str, int], *, others: str = "") -> None:
        self._control = control
        self.others = others
        ordered = sorted(control, key=len, reverse=True)  # longer ones first: one may begin with another
        self._marker = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._count = 0
        self.lines: list[str] = []

    def literal(self, text: str) -> str:
        """Text that has to stand there, control tokens in it by their ids."""
        found, at = [], 0
        for marker in self._marker.finditer(text) if self._marker else ():
            found += [quoted(text[at : marker.start()]), f"<[{self._control[marker[0]]}]>"]
            at = marker.end()
        return " ".join(part for part in (*found, quoted(text[at:])) if part)

    def filled(self, form: str, places: Mapping[str, str]) -> str:
        """A form with its places filled in."""
        found, at = [], 0
        for place in PLACES.finditer(form):
            found += [self.literal(form[at : place.start()]), places.get(place[1]) or PATTERNS[place[1]]]
            at = place.end()
        return " ".join(part for part in (*found, self.literal(form[at:])) if part)

    def until(self, end: str) -> str:
        """Any text up to an end, and the end."""
        marker = self._marker.match(end) if self._marker else None
        if marker is not None:
            return f"{self.rule(ANYTHING)} {self.literal(end)}"
        return self.rule(ANYTHING, f"[suffix={quoted(end)}]")

    def rule(self, body: str, attributes: str = "") -> str:
        """The name of a new rule."""
        name = self.name()
        self.define(name, body, attributes)
        return name

    def name(self) -> str:
        """A name for a rule that is defined later: it may then hold itself."""
        self._count += 1
        return f"r{self._count - 1}"

    def define(self, name: str, body: str, attributes: str = "") -> None:
        """What a rule is, by its name."""
        self.lines.append(f"{name}{attributes}: {body}")


def one_by_one(needed: Sequence[str], extra: Sequence[str], rules: Rules, *, between: str) -> str:
    """Rules in a row, each of the `extra` ones or not, with something between any two that are there."""
    if needed:
        return f" {between} ".join(needed) + "".join(f" ({between} {rule})?" for rule in extra)
    first = [" ".join([rule, *(f"({between} {later})?" for later in extra[at + 1 :])]) for at, rule in enumerate(extra)]
    return f"({' | '.join(map(rules.rule, first))})?" if first else '""'


def properties_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`properties` of an object's schema.

    :raises NoForm: they are no object.
    """
    found = schema.get("properties")
    if not isinstance(found, dict | None):
        raise NoForm('"properties" in a tool\'s parameters must be an object')
    return found or {}


def required_of(schema: Mapping[str, Any]) -> list[str]:
    """`required` of an object's schema.

    :raises NoForm: it is no list of names.
    """
    found = schema.get("required")
    if not isinstance(found, list | None) or not all(isinstance(name, str) for name in found or ()):
        raise NoForm('"required" in a tool\'s parameters must be an array of strings')
    return found or []


def quoted(text: str) -> str:
    """A text as the grammar writes it; nothing for an empty one."""
    return json.dumps(text, ensure_ascii=False) if text else ""


def spaced(schema: Any) -> str:
    """A schema for `%json`."""
    found = schema if isinstance(schema, dict) else {}
    return json.dumps({**found, "x-guidance": SPACING}, ensure_ascii=False)
