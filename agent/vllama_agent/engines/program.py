"""A program of somebody else's that is a child process of ours: under a keeper, its output read line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from vllama_agent.engines.process import KEEPER, STOP_SECONDS

TAIL_LINES = 400
"""Lines of its output that are kept for whoever asks why it died: each process of vLLM prints a traceback, the first of which says why."""
LINE_BREAK = re.compile(rb"[\r\n]+")
"""Progress bars rewrite their line behind a carriage return."""
LONGEST_LINE = 1 << 16


class Program:
    """A running program.

    :ivar tail: the last lines that it said.
    """

    def __init__(self, process: asyncio.subprocess.Process, pipe: int, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._pipe: int | None = pipe
        self._on_line = on_line
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = asyncio.create_task(self._read(), name="read a program's output")

    @classmethod
    async def start(
        cls, command: Sequence[str], *, environment: Mapping[str, str], on_line: Callable[[str], None] = lambda _line: None
    ) -> Program:
        """Run it.

        :param environment: all that it gets.
        :param on_line: told each line of its output and errors.
        """
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(KEEPER), str(read_end), "", "0", "--", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(read_end,),
                start_new_session=True,
                env=dict(environment),
            )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        return cls(process, write_end, on_line)

    async def ended(self) -> int:
        """Wait for its end; its exit code, 128 + the signal's number when a signal ended it. Its last lines are in `tail` then."""
        code = await self._process.wait()
        # whoever of its children still held the output is dead; what they wrote last is read within the moment
        await asyncio.wait({self._reader}, timeout=STOP_SECONDS)
        return code

    async def stop(self, *, grace: float = 0.0) -> None:
        """Ask it to end, and kill the whole tree after `grace` seconds. Safe to call twice."""
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            try:
                if grace:
                    await self._asked(pipe, grace)
            finally:
                os.close(pipe)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _asked(self, pipe: int, grace: float) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            os.write(pipe, b"t")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None, "it was started with a pipe"
        rest = b""
        while data := await self._process.stdout.read(LONGEST_LINE):
            *lines, rest = LINE_BREAK.split(rest + data)
            for line in lines:
                self._said(line)
            if len(rest) > LONGEST_LINE:
                self._said(rest)
                rest = b""
        self._said(rest)

    def _said(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip()
        if line:
            self.tail.append(line)
            self._on_line(line)
