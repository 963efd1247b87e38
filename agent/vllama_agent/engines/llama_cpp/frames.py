"""Blocking frames over a socket, for the two child processes."""

from __future__ import annotations

import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from vllama_agent.engines.llama_cpp import wire
from vllama_core.errors import EngineFailed

CHUNK = 1 << 18
MAX_UNSENT = 64 << 20
"""Bytes that may wait for an agent that does not read; more means that it hangs, and a worker without an agent has no purpose."""


class Disconnected(Exception):
    """The agent closed its end."""


def run_child(work: Callable[[FrameSocket], None]) -> int:
    """A child's whole life: work on the socket whose number is the last argument until the agent closes it; the exit status.

    A failure that has a sentence reaches the agent as a frame.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all processes of a service at once, it is for the agent, which drains first
    link = FrameSocket(int(sys.argv[-1]))
    try:
        work(link)
    except Disconnected:
        return 0
    except EngineFailed as error:
        link.send({"t": "failed", "message": str(error)})
    return 1


class FrameSocket:
    """Reads and writes whole frames; never blocks in `poll` or `send`."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._decoder = wire.FrameDecoder()
        self._unsent = bytearray()

    def poll(self) -> list[Any]:
        """Every frame that has arrived.

        :raises Disconnected: the other end is closed.
        """
        messages: list[Any] = []
        while True:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                return messages
            except ConnectionError:
                raise Disconnected from None
            if not data:
                raise Disconnected
            messages += self._decoder.feed(data)
            if len(data) < CHUNK:
                return messages

    def wait(self, timeout: float | None = None) -> list[Any]:
        """Like `poll`, but sleeps until something arrives (or unsent bytes can go, or `timeout` seconds have passed)."""
        readable = [self._socket]
        select.select(readable, readable if self._unsent else [], [], timeout)
        self._flush()
        return self.poll()

    def send(self, message: Any) -> None:
        """Queue a frame and send what the socket takes.

        :raises Disconnected: the other end is closed, or has not read for far too long.
        """
        self._unsent += wire.encode(message)
        self._flush()
        if len(self._unsent) > MAX_UNSENT:
            raise Disconnected

    def _flush(self) -> None:
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except ConnectionError:
                raise Disconnected from None
            del self._unsent[:sent]
