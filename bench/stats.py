"""Medians, spreads and ratios. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far the values lie around it."""

    median: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 2) -> str:
        """`1.05 (0.99..1.10)`, or just the value when there is one."""
        middle = f"{self.median:.{digits}f}"
        return middle if self.count == 1 else f"{middle} ({self.low:.{digits}f}..{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """None without a value."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(above: Mapping[int, float], below: Mapping[int, float]) -> list[float]:
    """above/below for each round that has both: noise that lasts longer than a round cancels out."""
    return [above[number] / below[number] for number in sorted(above.keys() & below.keys()) if below[number]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank: always one of the values, also for a handful of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Least squares: what y gains per x."""
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    variance = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / variance if variance else 0.0


def window_rate(arrivals: Sequence[Sequence[tuple[float, int]]]) -> float | None:
    """Tokens per second of all streams together while all of them are streaming; None if they never are.

    Needed beside the total because a ceiling of width 16 says nothing about moments when fewer than 16 run.
    """
    begin = max(stream[0][0] for stream in arrivals)
    end = min(stream[-1][0] for stream in arrivals)
    tokens = sum(count for stream in arrivals for moment, count in stream if begin < moment <= end)
    return tokens / (end - begin) if end > begin and tokens else None
