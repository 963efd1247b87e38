"""Waiting for work that must not be left alone: a thread cannot be cancelled, and goes on using what its caller would close."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Wait for short work in a thread, also when the caller is cancelled meanwhile; the cancellation is raised after it."""
    task, interrupted = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted from task.exception()
    return task.result()
