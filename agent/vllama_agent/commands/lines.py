"""How far a pull is, as JSON lines for a cluster's operator (`vllama_core.progress`): what Jobs print."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from vllama_core.errors import VllamaError
from vllama_core.progress import Failure, Meter


class Lines:
    """Shows the events of a pull, and what it failed of. A context manager, as `bars.Bars` is.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._meter = Meter()
        self._step = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, VllamaError):
            _print({"failure": Failure.of(error).as_fields()})

    def expect(self, total: int) -> None:
        """So many bytes are to be here in the end."""
        self._meter = Meter(total)

    def show(self, event: Mapping[str, Any]) -> None:
        """One event: a step, or the bytes of a file."""
        if "digest" in event:
            now, file = self._clock(), str(event["digest"])
            progress = self._meter.note(file, completed=int(event.get("completed", 0)), total=int(event["total"]), now=now)
            if progress is not None:
                _print({"progress": progress.as_fields()})
        elif event.get("status") != self._step:
            self._step = str(event.get("status", ""))
            _print({"message": self._step})


def _print(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)
