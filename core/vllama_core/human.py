"""Sizes, counts and times as people read them; the wording is that of Ollama's tables, which scripts parse."""

from __future__ import annotations

_YEAR_HOURS = 24 * 365
FOREVER_YEARS = 20
"""An end further away than this is shown as never."""


def size(count: int) -> str:
    """Bytes in powers of ten: ``253 MB``, ``1.5 GB``."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= scale:
            whole = count // scale
            return f"{whole} {unit}" if whole >= 10 or count % scale == 0 else f"{count / scale:.1f} {unit}"
    return f"{count} B"


def count(number: int) -> str:
    """A number of parameters: ``8.2B``, ``268M``."""
    for unit, scale in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= scale:
            return f"{number / scale:.0f}{unit}" if unit in "MK" else f"{number / scale:.1f}{unit}"
    return str(number)


def span(seconds: float) -> str:
    """How long something takes or took: ``5 minutes``, ``About an hour``."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return plural(int(seconds), "second")
    if seconds < 120:
        return "About a minute"
    if seconds < 3600:
        return plural(int(seconds / 60), "minute")
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, unit, length in ((48, "hour", 1), (24 * 14, "day", 24), (24 * 60, "week", 24 * 7), (_YEAR_HOURS * 2, "month", 24 * 30)):
        if hours < limit:
            return plural(hours // length, unit)
    return plural(hours // _YEAR_HOURS, "year")


def relative(seconds_ago: float) -> str:
    """A time seen from now: ``3 days ago``, ``4 minutes from now``, ``Forever``."""
    if seconds_ago < -FOREVER_YEARS * _YEAR_HOURS * 3600:
        return "Forever"
    return f"{span(-seconds_ago)} from now" if seconds_ago < 0 else f"{span(seconds_ago)} ago"


def plural(number: int, unit: str) -> str:
    """A number of things: ``1 core``, ``2 cores``."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
