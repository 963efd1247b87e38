"""What families whose answer is one message of several items (Anthropic's blocks, OpenAI's response items) have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vllama_agent.apis.errors import Failure
from vllama_agent.chat.events import Event
from vllama_agent.engines.base import Delta


class Reply(Protocol):
    """One answer on its way out: it is told what happens, and has the frames of a stream, and the whole at the end."""

    def begin(self, prompt_tokens: int) -> bytes:
        """Frames before the first word."""
        ...

    def ping(self) -> bytes:
        """A frame that says nothing, for a long silence; empty = the family has none."""
        ...

    def add(self, events: Sequence[Event], tokens: int) -> bytes:
        """Frames for what became certain.

        :param tokens: of which it became so.
        """
        ...

    def end(self, delta: Delta) -> bytes:
        """Frames for the last delta, whose events were added."""
        ...

    def failed(self, failure: Failure) -> bytes:
        """Frames for an error in mid-stream."""
        ...

    def whole(self) -> bytes:
        """The answer, where nothing is streamed; after `end`."""
        ...
