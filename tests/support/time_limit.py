"""A limit for the body of a test: one that hangs fails, wherever it hangs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

AGAIN = 5.0
"""Seconds between two attempts: an event loop hands an exception that hits a task to whoever awaits the task, and that may be nobody."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Fail what is not over in time; in the main thread only, as signals are.

    :raises pytest.fail.Exception: it was not over.
    """

    def over(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"it was not over after {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, over)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
