"""The two programs of llama.cpp, and one process of each that has imported all it needs before somebody wants it.

Both wait for their first frame, whoever starts them, so a spare is an ordinary child that was not sent it yet. A load into a running agent
then does not wait for Python and its libraries, which is half of the time that a model of 1 GB takes. The price is memory: 24 MiB for
each that waits, and 5 for its keeper. They end with the agent, as all children do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from dataclasses import dataclass

from vllama_agent.engines.llama_cpp.link import Link
from vllama_agent.engines.process import Child
from vllama_core.errors import EngineFailed

log = logging.getLogger(__name__)

RESTS = (1.0, 1.0, 10.0, 60.0)
"""Seconds until another spare is started: when one was taken (that load wants the cores for itself), and each time that one died without
having been taken. One that dies over and over is left alone: whoever loads a model is told why."""
SPIN_COUNT = "20000"
"""How long an OpenMP thread spins at a barrier before it sleeps. libgomp's default spins for milliseconds: fine on an idle machine, but
where anything else wants a core the spinning thread holds up the very thread it waits for (seconds per token were seen)."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.

    :ivar name: for people.
    :ivar module: of this package, run by our own interpreter.
    :ivar environment: variables that it gets unless we have them ourselves.
    """

    name: str
    module: str
    environment: tuple[tuple[str, str], ...] = ()

    async def start(self) -> Started:
        """A process of it, which begins to import.

        :raises EngineFailed: the system has no process, memory or file descriptors left for it.
        """
        link = Link()
        environment = {name: os.environ.get(name, value) for name, value in self.environment}
        return Started(await Child.start(link, sys.executable, "-m", self.module, environment=environment), link)


WORKER = Program("worker", "vllama_agent.engines.llama_cpp.worker", (("GOMP_SPINCOUNT", SPIN_COUNT),))
HELPER = Program("text helper", "vllama_agent.engines.llama_cpp.text")


@dataclass(frozen=True, slots=True)
class Started:
    """A process, and the agent's end of its socket."""

    child: Child
    link: Link


class Spares:
    """One waiting process of each program, from `begin` to `close`; outside of that every process is started when it is wanted.

    :param refill: False: what was taken is not replaced, as where no second model will be loaded.
    """

    def __init__(self, *, refill: bool = True) -> None:
        self._shelves = {program: _Shelf(program, refill=refill) for program in (WORKER, HELPER)}

    async def begin(self) -> None:
        """Start one of each."""
        for shelf in self._shelves.values():
            await shelf.begin()

    async def take(self, program: Program) -> Started:
        """The one that waits, or a new one. Errors as `Program.start`."""
        return await self._shelves[program].take()

    async def close(self) -> None:
        """End those that wait."""
        for shelf in self._shelves.values():
            await shelf.close()


class _Shelf:
    """The spare of one program, and the task that watches over it."""

    def __init__(self, program: Program, *, refill: bool) -> None:
        self._program = program
        self._refill = refill
        self._open = False
        self._spare: Started | None = None
        self._watch: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._open = True
        with contextlib.suppress(EngineFailed):  # the load that wants it will meet the same and say so
            self._spare = await self._program.start()
        self._watch_over()

    async def take(self) -> Started:
        await self._end_watch()
        spare, self._spare = self._spare, None
        if self._open and self._refill:
            self._watch_over()
        if spare is None:
            return await self._program.start()
        if spare.link.is_closed:
            await spare.child.stop()
            return await self._program.start()
        return spare

    async def close(self) -> None:
        self._open = False
        await self._end_watch()
        await self._drop()

    def _watch_over(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._replace(), name=f"spare {self._program.name}")

    async def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait({watch})

    async def _replace(self) -> None:
        """Have one wait, for as long as it does not die too often."""
        deaths = 0
        while deaths < len(RESTS):
            if self._spare is None:
                await asyncio.sleep(RESTS[deaths])
                try:
                    self._spare = await self._program.start()
                except EngineFailed as error:
                    log.warning("no spare %s: %s", self._program.name, error)
            if self._spare is not None:
                await self._spare.link.closed()
                log.warning("a waiting %s ended by itself", self._program.name)
                await self._drop()
            deaths += 1

    async def _drop(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            await spare.child.stop()
