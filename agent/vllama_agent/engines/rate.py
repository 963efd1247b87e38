"""Tokens per second from a total that grows."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 5.0
"""Seconds over which they are averaged."""


class Rate:
    """Tokens per second, each time it is told the total."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def of(self, total: int) -> float:
        """The rate, now that there are `total`. Every answer asks, so it must not cost more the more of them there are."""
        now = time.monotonic()
        while self._points and now - self._points[0][0] >= WINDOW:
            self._points.popleft()
        self._points.append((now, total))
        begin, first = self._points[0]
        return max(0, total - first) / (now - begin) if now > begin else 0.0
