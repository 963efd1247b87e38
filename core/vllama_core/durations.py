"""Go's durations, as Ollama's settings and requests spell them: ``5m``, ``1h30m``, ``1.5h``.

https://pkg.go.dev/time#ParseDuration
"""

from __future__ import annotations

import math
import re

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER = -1.0
"""Never unload; any negative number says so."""
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"(?a:[+-]?(?:{_PART})+)")
LONGEST_TEXT = 64
LONGEST_SECONDS = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits."""


def parse(text: str) -> float:
    """Seconds.

    :raises ValueError: it is no duration; the sentence says what is.
    """
    if text in ("0", "+0", "-0"):
        return 0.0
    if len(text) > LONGEST_TEXT or not _DURATION.fullmatch(text):
        raise ValueError(f'{text[:LONGEST_TEXT]!r} is no duration; write one such as "30s", "5m" or "1h30m"')
    total = sum(float(amount) * UNITS[unit] for amount, unit in re.findall(_PART, text, re.ASCII))
    return -total if text.startswith("-") else total


def parse_seconds(text: str) -> float:
    """As `parse`, and bare numbers are seconds, as Ollama's environment variables have it.

    :raises ValueError: it is neither.
    """
    try:
        seconds = float(text)
    except ValueError:
        return parse(text)
    if not math.isfinite(seconds):
        raise ValueError(f"{text!r} is no number of seconds")
    return seconds


def parse_keep_alive(value: object) -> float | None:
    """Seconds that a model stays loaded after a request: None = the default, `FOREVER` = never unload, 0 = unload right after it.

    The rules of the request's field: numbers are seconds, strings need a unit.

    :raises ValueError: neither a number nor a duration.
    """
    match value:
        case None:
            return None
        case bool():
            pass
        case int() | float() if not math.isnan(value):
            return _bounded(value)
        case str():
            return _bounded(parse(value))
    raise ValueError('it must be a number of seconds or a duration such as "5m"')


def _bounded(seconds: float) -> float:
    return FOREVER if seconds < 0 or seconds > LONGEST_SECONDS else float(seconds)
