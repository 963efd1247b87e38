"""Server-sent events as OpenAI-compatible servers write them: one `data:` line to an event. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

DONE = b"[DONE]"
"""The payload that ends a stream."""


class EventDecoder:
    """Payloads out of bytes, however they were cut. Comments and other fields are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
