"""What a pull tells while it works: steps as sentences, and bytes per file.

The words of the steps are those of Ollama's pull. https://github.com/ollama/ollama/blob/main/docs/api.md#pull-a-model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """A step begins, or something is worth a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of one file.

    :ivar digest: its sha256 in hexadecimal; stays the same for one file, so that bars can be keyed by it.
    :ivar total: bytes of the whole file.
    :ivar completed: bytes that are here, those of earlier attempts included; never falls.
    """

    digest: str
    total: int
    completed: int


Event = Status | Progress
OnEvent = Callable[[Event], None]
"""Called on the event loop, or on the worker thread that makes the event where its caller says so; must return at once."""
