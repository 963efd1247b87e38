"""The pool's background work: every task has a name, and an end that somebody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

UNLOAD = "unload "
"""How the names of tasks begin that free what is held: they are not cancelled."""


class Tasks:
    """Tasks that are kept until they are done."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start one."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """End all but those that free what is held."""
        for task in list(self._running):
            if not task.get_name().startswith(UNLOAD):
                task.cancel()

    async def end(self) -> None:
        """Wait until none is left, also of those that are started meanwhile."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
