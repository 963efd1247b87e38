"""`keep_alive`: seconds, Go durations, and "never". https://pkg.go.dev/time#ParseDuration"""

from __future__ import annotations

import math
import re
from typing import Any

from vllama_agent.apis import fields
from vllama_core.errors import InvalidRequest

NEVER = math.inf
"""Stays loaded for ever."""
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"(?a:[+-]?(?:{_PART})+)")
MAX_SECONDS = 2**63 / 1e9
"""Go's longest duration; longer ones mean never."""
MAX_TEXT = 64


def parse(value: Any) -> float | None:
    """Seconds to stay loaded: None = the server's default, `NEVER`, or 0 = unload after this request.

    :raises InvalidRequest: neither a number nor a duration.
    """
    match value:
        case None:
            return None
        case bool():
            pass
        case int() | float() if not math.isnan(value):
            return _bounded(value)
        case str():
            seconds = duration(value)
            if seconds is not None:
                return _bounded(seconds)
    raise InvalidRequest(f'keep_alive must be seconds or a duration such as "10m", not {fields.shown(value)}', field="keep_alive")


def duration(value: str) -> float | None:
    """A Go duration in seconds; None if it is none."""
    if value in ("0", "+0", "-0"):
        return 0.0
    if len(value) > MAX_TEXT or not _DURATION.fullmatch(value):
        return None
    total = sum(float(amount) * UNITS[unit] for amount, unit in re.findall(_PART, value, re.ASCII))
    return -total if value.startswith("-") else total


def _bounded(seconds: float) -> float:
    return NEVER if seconds < 0 or seconds > MAX_SECONDS else float(seconds)
