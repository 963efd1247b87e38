"""`keep_alive` of a request: seconds, Go durations, and "never"."""

from __future__ import annotations

import math
from typing import Any

from vllama_agent.apis import fields
from vllama_core import durations
from vllama_core.errors import InvalidRequest

NEVER = math.inf
"""Stays loaded for ever."""


def parse(value: Any) -> float | None:
    """Seconds to stay loaded: None = the server's default, `NEVER`, or 0 = unload after this request.

    :raises InvalidRequest: neither a number nor a duration.
    """
    try:
        seconds = durations.parse_keep_alive(value)
    except ValueError:
        told = f'keep_alive must be seconds or a duration such as "10m", not {fields.shown(value)}'
        raise InvalidRequest(told, field="keep_alive") from None
    return NEVER if seconds == durations.FOREVER else seconds
