"""Waiting for something to change, whatever it is: each waiter looks for itself whether it helps."""

from __future__ import annotations

import asyncio
import contextlib


class Change:
    """A signal that is over at once: only those who wait when it is given hear it."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, until: float | None = None) -> None:
        """For the next change.

        :param until: return at this time of the loop's clock without one; None: whoever calls has a limit of its own.
        """
        heard = self._next
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await heard.wait()
