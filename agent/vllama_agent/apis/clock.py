"""Times and durations as the wire has them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_second = -1
_prefix = ""

FOREVER = timedelta(days=365 * 292)
"""Go's longest duration, in which Ollama counts "never": `expires_at` then lies about three centuries ahead."""


def now_text() -> str:
    """Now, in RFC 3339 with microseconds and `Z`.

    Called once per streamed chunk: the part down to the second is formatted once a second.
    """
    global _second, _prefix
    microseconds = time.time_ns() // 1000
    second, fraction = divmod(microseconds, 1_000_000)
    if second != _second:
        _second, _prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    return f"{_prefix}{fraction:06d}Z"


def local_text(moment: datetime) -> str:
    """RFC 3339 with microseconds in the server's zone, as `modified_at` and `expires_at` have it."""
    return moment.astimezone().isoformat(timespec="microseconds")


def expiry(seconds_left: float) -> datetime:
    """When something with so many seconds left expires; infinity is Ollama's "forever"."""
    left = FOREVER if seconds_left > FOREVER.total_seconds() else timedelta(seconds=max(0.0, seconds_left))
    return datetime.now(UTC) + left


def nanoseconds(seconds: float) -> int:
    """A duration as Ollama's JSON has it."""
    return int(seconds * 1e9)
