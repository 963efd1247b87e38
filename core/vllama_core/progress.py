"""How far a download is, in lines that a cluster's operator reads from the log of an agent or of a Job. Pure.

A line is one JSON object with `progress` or `failure` in it, and whatever else its writer says:

    {"progress": {"completedBytes": 1048576, "totalBytes": 4194304, "bytesPerSecond": 524288, "secondsLeft": 6}}
    {"failure": {"reason": "AccessDenied", "message": "org/model is gated …"}}
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllama_core.errors import VllamaError

PERIOD = 2.0
"""Seconds between two lines, at least: a log is no place for more."""
WINDOW = 10.0
"""Seconds over which the speed is taken."""
LONGEST = 2000
"""Characters of a failure's sentence that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """:ivar speed: bytes a second; 0: not known yet."""

    completed: int
    total: int
    speed: int = 0

    @property
    def seconds_left(self) -> int | None:
        """None: not known."""
        return round((self.total - self.completed) / self.speed) if self.speed else None

    @property
    def percent(self) -> int:
        """Rounded down: 100 is said when all is there."""
        return 100 * self.completed // self.total if self.total else 0

    def as_fields(self) -> dict[str, int]:
        """As `status.download` of an LLMServe has them."""
        made = {"completedBytes": self.completed, "totalBytes": self.total, "bytesPerSecond": self.speed}
        return made if self.seconds_left is None else made | {"secondsLeft": self.seconds_left}


@dataclass(frozen=True, slots=True)
class Failure:
    """:ivar reason: a CamelCase word."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: VllamaError) -> Failure:
        """Its reason is the error's class."""
        return cls(type(error).__name__, str(error))

    def as_fields(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message[:LONGEST]}


class Meter:
    """Turns the bytes of single files into how far the whole is, now and then.

    :param total: bytes of all files; 0: not known, so that only files which have begun count.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._files: dict[str, tuple[int, int]] = {}
        self._arrived = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._told_at: float | None = None

    def note(self, file: str, *, completed: int, total: int, now: float) -> Progress | None:
        """Bytes of a file are there; what should be told of it, None: nothing yet.

        :param now: seconds, by any clock.
        """
        known = self._files.get(file)
        self._files[file] = (completed, total)
        if known is not None:  # what is there when a file is first named came in earlier, and is no speed
            self._arrived += max(0, completed - known[0])
        there = sum(each for each, _ in self._files.values())
        whole = max(self._total, sum(each for _, each in self._files.values()))
        self._recent.append((now, self._arrived))
        while len(self._recent) > 2 and self._recent[1][0] <= now - WINDOW:
            self._recent.popleft()
        if there < whole and self._told_at is not None and now - self._told_at < PERIOD:
            return None
        self._told_at = now
        return Progress(completed=there, total=whole, speed=self._speed())

    def _speed(self) -> int:
        (since, before), (now, arrived) = self._recent[0], self._recent[-1]
        return round((arrived - before) / (now - since)) if now > since else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The newest of what a log says; a failure after which it went on is none."""

    progress: Progress | None = None
    failure: Failure | None = None


def read(lines: Iterable[str]) -> Told:
    """The end of a log; lines of another kind are passed over, as libraries write some too."""
    told = Told()
    for line in lines:
        fields = _fields(line)
        if (progress := _progress(fields.get("progress"))) is not None:
            told = Told(progress=progress)
        elif (failure := _failure(fields.get("failure"))) is not None:
            told = Told(progress=told.progress, failure=failure)
    return told


def _fields(line: str) -> Mapping[str, Any]:
    start = line.find("{")
    try:
        found = json.loads(line[start:]) if start >= 0 else None
    except ValueError:  # the tail of a log may begin within a line
        return {}
    return found if isinstance(found, dict) else {}


def _progress(fields: Any) -> Progress | None:
    if not isinstance(fields, dict):
        return None
    numbers = [fields.get(name, 0) for name in ("completedBytes", "totalBytes", "bytesPerSecond")]
    if not all(type(number) is int and number >= 0 for number in numbers):
        return None
    completed, total, speed = numbers
    return Progress(completed=min(completed, total), total=total, speed=speed)


def _failure(fields: Any) -> Failure | None:
    if not isinstance(fields, dict) or not all(isinstance(fields.get(name), str) for name in ("reason", "message")):
        return None
    return Failure(fields["reason"], fields["message"][:LONGEST])
