"""Child processes that cannot outlive the agent: each runs under a keeper and talks over one end of a socket pair."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
STOP_SECONDS = 10.0
"""A killed tree is gone in milliseconds; a process in an uninterruptible read may take longer, and then we stop waiting."""


class Child:
    """A running command, our end of its socket, and the pipe whose end is the command's end."""

    def __init__(self, process: asyncio.subprocess.Process, transport: asyncio.Transport, pipe: int) -> None:
        self._process = process
        self._transport = transport
        self._pipe: int | None = pipe

    @classmethod
    async def start(cls, link: asyncio.Protocol, *command: str, environment: Mapping[str, str] | None = None) -> Child:
        """Run ``command… FD`` under a keeper. The child's standard error is ours.

        :param link: what gets the bytes that the command writes to the socket that it got as its last argument.
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
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        return cls(process, transport, write_end)

    async def ended(self) -> int:
        """The exit code of a command that has closed its end, 128 + the signal's number when a signal ended it.

        It is ended if it lives on without its socket: nobody can speak to it any more.
        """
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            await self.stop()
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
        self._transport.close()
