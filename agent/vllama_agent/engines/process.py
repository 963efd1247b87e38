"""Child processes that cannot outlive the agent: each runs under a keeper and talks over one end of a socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
READ_AHEAD = 1 << 20
"""Bytes that may wait to be read before the socket is left full."""
STOP_SECONDS = 10.0
"""A killed tree is gone in milliseconds; a process in an uninterruptible read may take longer, and then we stop waiting."""


class Child:
    """A running command, our end of its socket, and the pipe whose end is the command's end.

    :ivar reader: what the command writes to the socket that it got as its last argument.
    :ivar writer: what it reads there.
    """

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipe: int) -> None:
        self._process = process
        self.reader = reader
        self.writer = writer
        self._pipe: int | None = pipe

    @classmethod
    async def start(cls, *command: str, environment: Mapping[str, str] | None = None) -> Child:
        """Run ``command… FD`` under a keeper. The child's standard error is ours.

        :param environment: variables beside our own.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(KEEPER), str(read_end), str(theirs.fileno()), "--"),
                *(*command, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(read_end, theirs.fileno()),
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        except BaseException:
            ours.close()
            os.close(write_end)
            raise
        finally:
            theirs.close()
            os.close(read_end)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD)
        return cls(process, reader, writer, write_end)

    async def wait(self) -> int:
        """The command's exit code; 128 + the signal's number when a signal ended it."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Kill the whole tree and wait for its end. Safe to call twice."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
