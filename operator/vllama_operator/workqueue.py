"""Which LLMServes wait to be looked at: each once however often it was named, none by two workers, failures later and later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vllama_operator.observed import Ref

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 0.5, 60.0
"""Seconds until a failed one is tried again; doubled each time."""


class WorkQueue:
    """Must be used in one event loop."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[Ref] = asyncio.Queue()
        self._waiting: set[Ref] = set()
        self._active: set[Ref] = set()
        self._again: set[Ref] = set()
        self._timers: dict[Ref, asyncio.TimerHandle] = {}
        self._failures: dict[Ref, int] = {}

    def __len__(self) -> int:
        """Those that wait or are being worked on."""
        return len(self._waiting) + len(self._active)

    def add(self, ref: Ref) -> None:
        """Look at it as soon as somebody can."""
        timer = self._timers.pop(ref, None)
        if timer is not None:
            timer.cancel()
        if ref in self._active:
            self._again.add(ref)
        elif ref not in self._waiting:
            self._waiting.add(ref)
            self._ready.put_nowait(ref)

    def retry(self, ref: Ref, *, after: float | None = None) -> None:
        """It failed: look at it again later.

        :param after: seconds, at least.
        """
        count = self._failures.get(ref, 0)
        self._failures[ref] = count + 1
        delay = max(min(FIRST_RETRY * 2**count, LAST_RETRY), after or 0.0)
        self.later(ref, after=delay)

    def later(self, ref: Ref, *, after: float) -> None:
        """Look at it again without anything having happened, unless somebody names it before.

        :param after: seconds.
        """
        loop, known = asyncio.get_running_loop(), self._timers.get(ref)
        if known is not None:
            if known.when() <= loop.time() + after:
                return
            known.cancel()
        self._timers[ref] = loop.call_later(after, self.add, ref)

    def succeeded(self, ref: Ref) -> None:
        """The next failure is a first one."""
        self._failures.pop(ref, None)

    async def work(self, job: Callable[[Ref], Awaitable[None]]) -> None:
        """Take one after the other, until cancelled. What `job` raises is logged and tried again: one LLMServe never stops the others."""
        while True:
            ref = await self._ready.get()
            self._waiting.discard(ref)
            self._active.add(ref)
            try:
                await job(ref)
            except Exception:
                log.exception("%s/%s: reconciling failed for a reason that is ours", *ref)
                self.retry(ref)
            finally:
                self._active.discard(ref)
                if ref in self._again:
                    self._again.discard(ref)
                    self.add(ref)
