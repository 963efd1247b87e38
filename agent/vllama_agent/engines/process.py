"""Child processes that cannot outlive the agent: each runs under a keeper and talks over one end of a socket pair."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllama_agent import child_environment
from vllama_core.errors import EngineFailed

KEEPER = Path(__file__).with_name("keeper.py")
STOP_SECONDS = 10.0
"""A killed tree is gone in milliseconds; a process in an uninterruptible read may take longer, and then we stop waiting."""


def ending(code: int) -> str:
    """An exit code in words.

    :param code: 128 + the signal's number when a signal ended it.
    """
    return f"signal {code - 128}" if code > 128 else f"code {code}"


def yield_to_children() -> None:
    """Let an engine that computes on the CPU keep its core when its frame wakes us; the keeper gives children the normal policy back.

    The wake-up often lands on the very core that sent the frame, and a woken process preempts: in two of three runs the decode loop then
    waited for 32 streams to be written, up to half a millisecond of each step. A SCHED_BATCH process takes the next idle core instead
    (https://man7.org/linux/man-pages/man7/sched.7.html). Without such policies, as on macOS, nothing happens.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Child:
    """A running command, our end of its socket, and the pipe whose end is the command's end."""

    def __init__(self, process: asyncio.subprocess.Process, transport: asyncio.Transport, pipe: int) -> None:
        self._process = process
        self._transport = transport
        self._pipe: int | None = pipe

    @classmethod
    async def start(cls, link: asyncio.Protocol, *command: str, environment: Mapping[str, str] | None = None, niceness: int = 0) -> Child:
        """Run ``command… FD`` under a keeper. The child's standard error is ours.

        :param link: what gets the bytes that the command writes to the socket that it got as its last argument.
        :param environment: variables beside our own; of ours, secrets are kept back.
        :param niceness: how far it gives way to other processes, 0 to 19.
        :raises EngineFailed: the system has no process, memory or file descriptors left for it.
        """
        try:
            return await cls._start(link, command, environment or {}, niceness)
        except OSError as error:
            raise EngineFailed(f"a child process cannot be started: {error}") from error

    @classmethod
    async def _start(cls, link: asyncio.Protocol, command: Sequence[str], environment: Mapping[str, str], niceness: int) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        read_end, write_end = os.pipe()
        transport: asyncio.Transport | None = None
        try:
            # before the process: nobody would wait for the end of one whose start is given up
            transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(KEEPER), str(read_end), str(theirs.fileno()), str(niceness), "--"),
                *(*command, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(read_end, theirs.fileno()),
                start_new_session=True,
                env={**child_environment.without_secrets(os.environ), **environment},
            )
        except BaseException:
            (transport or ours).close()
            os.close(write_end)
            raise
        finally:
            theirs.close()
            os.close(read_end)
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

    def kill(self) -> None:
        """Have the keeper kill the whole tree. Safe to call twice."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    async def stop(self) -> None:
        """Kill the whole tree and wait for its end. Safe to call twice."""
        self.kill()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        self._transport.close()
