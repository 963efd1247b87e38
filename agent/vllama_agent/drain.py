"""The way out: stop being ready, keep accepting for a while, then refuse, let answers finish, and end those that take too long.

Knows tasks and the clock; the server tells it what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from vllama_core.errors import Busy

ENDED = "the server is shutting down and this answer took longer than it may wait"
REFUSED = "the server is shutting down"
RETRY_AFTER = 5
"""Seconds; by then a balancer knows, or a restarted server answers."""


class Phase(StrEnum):
    """How far the end is."""

    SERVING = "serving"
    LEAVING = "leaving"
    """Not ready, but still accepting: load balancers lag."""
    REFUSING = "refusing"
    """No new work; what runs may finish."""
    ENDING = "ending"
    """What still runs is ended."""


class Drain:
    """Keeps the phase, and the tasks that make answers."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        self._working: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._now = asyncio.Event()

    @property
    def running(self) -> int:
        """Answers in the making."""
        return len(self._working)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The current task makes an answer.

        :raises Busy: nothing new is accepted, or the answer was ended by `finish`: say so in the API's own shape.
        """
        if self.phase in (Phase.REFUSING, Phase.ENDING):
            raise Busy(REFUSED, retry_after=RETRY_AFTER)
        task = asyncio.current_task()
        assert task is not None, "answers are made in tasks"
        self._working.add(task)
        self._idle.clear()
        try:
            yield
        except asyncio.CancelledError:
            # The same signal as a client that left; `discard` in `_end` tells them apart.
            if task in self._working:
                raise
            task.uncancel()
            raise Busy(ENDED, retry_after=RETRY_AFTER) from None
        finally:
            self._working.discard(task)
            if not self._working:
                self._idle.set()

    def hurry(self) -> None:
        """End everything at once (a second signal)."""
        self._now.set()

    async def finish(self, *, delay: float, seconds: float, refuse: asyncio.Event) -> None:
        """Go through the phases.

        :param delay: seconds to keep accepting.
        :param seconds: seconds that running answers may take after that.
        :param refuse: set when nothing new may come in.
        """
        self.phase = Phase.LEAVING
        await self._until(self._now.wait(), delay)
        self.phase = Phase.REFUSING
        refuse.set()
        if not self._now.is_set():
            await self._until(self._first(self._idle, self._now), seconds)
        self._end()

    def _end(self) -> None:
        self.phase = Phase.ENDING
        for task in list(self._working):
            self._working.discard(task)
            task.cancel()

    async def _until(self, awaited: object, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await awaited  # type: ignore[misc]
        except TimeoutError:
            pass

    async def _first(self, *events: asyncio.Event) -> None:
        tasks = [asyncio.create_task(event.wait(), name="drain") for event in events]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
