"""The agent's end of a child's socket: frames out, and each frame that comes in handed on in the very call that read it.

A `StreamReader` would wake a task for every read; a frame comes for every token, and that was a fifth of the agent's CPU per token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from vllama_agent.engines.llama_cpp import wire

log = logging.getLogger(__name__)

Take = Callable[[dict[str, Any]], None]


class LinkClosed(Exception):
    """The child's end is closed: it died, or is about to."""


class Link(asyncio.Protocol):
    """One child's frames. Before `pass_on` they are read one at a time by `next`."""

    def __init__(self) -> None:
        self._decoder = wire.FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._take: Take = self._keep
        self._kept: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        """None = closed."""
        self._closed = asyncio.Event()

    def send(self, message: Any) -> None:
        """Queue a frame. To a child that is gone it says nothing: whoever waits for it learns from the closed link."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.encode(message))

    async def next(self) -> dict[str, Any]:
        """The next frame; the caller sets the time limit.

        :raises LinkClosed: there is none, nor will be.
        """
        frame = await self._kept.get()
        if frame is None:
            raise LinkClosed
        return frame

    async def pass_on(self, take: Take) -> None:
        """Call `take` with each frame, until the child closes its end."""
        while not self._kept.empty():
            if frame := self._kept.get_nowait():
                take(frame)
        self._take = take
        await self.closed()

    @property
    def is_closed(self) -> bool:
        """Whether the child's end is closed, or ours."""
        return self._closed.is_set()

    async def closed(self) -> None:
        """Wait until it is."""
        await self._closed.wait()

    def close(self) -> None:
        """Close our end; the child ends when it sees it."""
        if self._transport is not None:
            self._transport.close()

    # -- called by the event loop -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are transports without deriving from it

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except wire.WireError as error:
            log.error("a child process of llama.cpp sent what cannot be read: %s", error)
            self.close()
            return
        for frame in frames:
            self._take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._kept.put_nowait(None)

    def _keep(self, frame: dict[str, Any]) -> None:
        self._kept.put_nowait(frame)
