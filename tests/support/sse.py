"""Server-sent events whose names stand in their data too, as Anthropic's and OpenAI's responses have them."""

from __future__ import annotations

import json
from typing import Any


def named_frames(data: bytes) -> list[dict[str, Any]]:
    """The data of each event.

    :raises AssertionError: an event's name is not its type.
    """
    found = []
    for frame in data.decode().split("\n\n")[:-1]:
        name, _, body = frame.partition("\ndata: ")
        found.append(json.loads(body))
        assert name == f"event: {found[-1]['type']}"
    return found
