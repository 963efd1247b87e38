"""Tokens per second from a total that grows."""

from __future__ import annotations

import time

WINDOW = 5.0
"""Seconds over which they are averaged."""


class Rate:
    """Tokens per second, each time it is told the total."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def of(self, total: int) -> float:
        """The rate, now that there are `total`."""
        now = time.monotonic()
        self._points = [*(p for p in self._points if now - p[0] < WINDOW), (now, total)]
        begin, first = self._points[0]
        return max(0, total - first) / (now - begin) if now > begin else 0.0
