"""What an answer is made of, once its markup is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """Words for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Words that the model wrote for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A whole call of a tool."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


Event = Text | Thought | Call


class Begun(StrEnum):
    """Where in an answer the prompt ends."""

    NOT = "not"
    """Before it."""
    THOUGHT = "thought"
    """In a thought: the prompt opened one, or an earlier one is continued."""
    TEXT = "text"
    """In words for the reader, which are continued."""
