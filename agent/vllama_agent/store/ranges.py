"""Which bytes of a file are here: ranges, half open, merged where they touch. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""(first byte, byte behind the last)."""


class Ranges:
    """A set of bytes."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    def add(self, start: int, end: int) -> None:
        """Put bytes in; twice is once."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    @property
    def total(self) -> int:
        """Bytes that are in."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix(self) -> int:
        """Bytes that are in from the first one on without a gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def missing(self, size: int) -> list[Range]:
        """What is not in, of a file of `size` bytes."""
        gaps, at = [], 0
        for start, end in self:
            if at < min(start, size):
                gaps.append((at, min(start, size)))
            at = max(at, end)
        return [*gaps, (at, size)] if at < size else gaps
