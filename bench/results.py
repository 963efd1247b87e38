"""The results file: one JSON line per measurement, only ever appended to, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import places

GRID_ROUND = 0
"""The round that only finds the best of the grid: its values are not compared, they would favour the luckiest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One contestant, measured once.

    :ivar series: counts how often a row was begun anew; rounds of different series are never paired.
    :ivar skipped: a sentence, when it could not be measured.
    """

    row: str
    contestant: str
    round: int
    series: int
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: str | None = None
    version: str = ""
    command: str = ""
    commit: str = ""
    machine: str = ""
    load: float = 0.0
    """Cores that were busy in the second before: more than a few hundredths means that somebody else was at work."""
    seconds: float = 0.0
    at: str = ""


class ResultsFile:
    """Reads and appends. A line cut by a crash is skipped: it is measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, result: Result) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = self._path.read_bytes()[-1:] if self._path.exists() else b"\n"
        with open(self._path, "a") as file:
            file.write(("" if data == b"\n" else "\n") + json.dumps(asdict(result)) + "\n")

    def __iter__(self) -> Iterator[Result]:
        if not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            try:
                yield Result(**json.loads(line))
            except (ValueError, TypeError):
                continue

    def of(self, row: str, series: int | None = None) -> list[Result]:
        """All of a row; of its newest series unless told which."""
        found = [result for result in self if result.row == row]
        wanted = series if series is not None else max((result.series for result in found), default=0)
        return [result for result in found if result.series == wanted]

    def newest_series(self, row: str) -> int:
        """0 when the row was never measured."""
        return max((result.series for result in self if result.row == row), default=0)

    def has(self, row: str, series: int, contestant: str, number: int) -> bool:
        """Whether it was measured. What was skipped is tried again: the peer may be there by now."""
        return any((r.contestant, r.round) == (contestant, number) and r.skipped is None for r in self.of(row, series))


def machine() -> str:
    """What the figures depend on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """The checkout's commit, with a plus sign if files of the product differ from it."""
    words: list[list[str]] = [["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "agent", "core"]]
    head, changed = (_git(*arguments) for arguments in words)
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str:
    result: Any = subprocess.run(["git", *arguments], cwd=places.ROOT, capture_output=True, text=True, check=False)
    return str(result.stdout).strip()
