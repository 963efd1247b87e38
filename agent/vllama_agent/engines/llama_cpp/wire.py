"""The wire between agent, worker and text helper: msgpack maps or lists, each after its length in four bytes (big-endian). Pure.

Agent to worker: ``{"t": "submit", …}``, ``{"t": "cancel", "id"}``, ``{"t": "pause", "id", "paused"}``.
Worker to agent: ``{"t": "hello", "protocol", …}`` once, then one ``{"t": "step", "rows": [...], "stats"?}`` per step for all requests,
and ``{"t": "refused", "id", "message"}`` where a request's grammar leaves its answer nowhere to go.
A row is ``[id, token, text]`` or, with its last elements only where there is something to say,
``[id, token, text, logprob or None, finish or None, usage or None, the stop text that ended it or None]``.
"""

from __future__ import annotations

from typing import Any

import msgpack

PROTOCOL = 3
"""Raised with every change that one side alone would misread; the agent refuses another number in the hello."""
MAX_FRAME = 256 << 20
"""Bytes. A longer length is a broken stream, not a frame."""
LENGTH = 4


class WireError(Exception):
    """The other side does not speak this protocol."""


def encode(message: Any) -> bytes:
    """One frame."""
    body: bytes = msgpack.packb(message)
    return len(body).to_bytes(LENGTH, "big") + body


class FrameDecoder:
    """Frames from bytes, however they were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Every message that is complete now.

        :raises WireError: the bytes are no frames.
        """
        buffer = self._buffer
        buffer += data
        messages, at = [], 0
        while len(buffer) - at >= LENGTH:
            size = int.from_bytes(buffer[at : at + LENGTH], "big")
            if size > MAX_FRAME:
                raise WireError(f"a frame of {size} bytes is longer than {MAX_FRAME}")
            end = at + LENGTH + size
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages.append(_unpack(view[at + LENGTH : end]))
            at = end
        del buffer[:at]
        return messages


def _unpack(body: memoryview) -> Any:
    try:
        # token arrays travel as bytes, so a list of a million elements is never legitimate
        return msgpack.unpackb(body, strict_map_key=False, max_array_len=1 << 20, max_map_len=1 << 16)
    except (ValueError, TypeError) as error:  # TypeError: a map as a map's key
        raise WireError(f"a frame is not msgpack: {error}") from None
    finally:
        body.release()
