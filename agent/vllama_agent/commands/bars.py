"""How far a pull is: bars with rate and time left on a terminal, one line per step elsewhere. On standard error: output is for results."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vllama_agent.commands import answer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """Shows the events of a pull, as `/api/pull` words them. A context manager: bars end with it."""

    def __init__(self) -> None:
        self._progress: Progress | None = _progress() if sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._last = ""

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def expect(self, total: int) -> None:
        """Each file has a bar of its own, which needs no sum."""

    def show(self, event: Mapping[str, Any]) -> None:
        """One event: a step, or the bytes of a file."""
        status = answer.safe(str(event.get("status", "")))
        if self._progress is None:
            if status != self._last:
                print(status, file=sys.stderr, flush=True)
        elif "digest" in event:
            self._move(self._progress, str(event["digest"]), status, int(event["total"]), int(event.get("completed", 0)))
        else:
            self._progress.console.print(status, highlight=False, markup=False)
        self._last = status

    def _move(self, progress: Progress, digest: str, status: str, total: int, completed: int) -> None:
        task = self._tasks.get(digest)
        if task is None:
            # What is here already must not count as speed, so the bar begins where the file does.
            self._tasks[digest] = progress.add_task(status, total=total, completed=completed)
        else:
            progress.update(task, completed=completed)


def _progress() -> Progress:
    """Imported here: only a terminal needs it, and it takes as long to import as `vllama list` may take."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
