"""What a pull tells while it works: steps as sentences, and bytes per file.

The words of the steps are those of Ollama's pull. https://github.com/ollama/ollama/blob/main/docs/api.md#pull-a-model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Status:
    """A step begins, or something is worth a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of one file.

    :ivar digest: its sha256 in hexadecimal, or git's hash of a small file; stays the same for one file, so that bars can be keyed by it.
    :ivar total: bytes of the whole file.
    :ivar completed: bytes that are here, those of earlier attempts included; never falls.
    :ivar label: the step that this belongs to, if it is not the last one that was told.
    """

    digest: str
    total: int
    completed: int
    label: str | None = None


Event = Status | Progress
OnEvent = Callable[[Event], None]
"""Called on the event loop, or on the worker thread that makes the event where its caller says so; must return at once."""


def as_fields(event: Event, step: str = "") -> dict[str, Any]:
    """An event as Ollama's clients read it.

    :param step: the one that was told last, which a file's bytes belong to where they name none.
    """
    if isinstance(event, Status):
        return {"status": event.text}
    kind = "sha256" if len(event.digest) == SHA256_DIGITS else "sha1"
    fields = {"status": event.label or step, "digest": f"{kind}:{event.digest}", "total": event.total}
    return fields | ({"completed": event.completed} if event.completed else {})
