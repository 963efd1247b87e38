"""The life of an engine that is a child process: how it is loaded and unloaded, whatever the process is."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from vllama_agent import lifecycle
from vllama_agent.engines.base import EngineState, ModelFacts
from vllama_agent.lifecycle import Event
from vllama_core.errors import EngineFailed

Started = TypeVar("Started")


class ChildEngine(ABC, Generic[Started]):
    """What engines share of `base.Engine`: its attributes, `load` and `unload`.

    :param owner: the name of the task that owns the process while it serves.
    """

    def __init__(self, *, owner: str) -> None:
        self._owner_name = owner
        self._owner: asyncio.Task[None] | None = None
        self.state = EngineState.STOPPED
        self.failure: str | None = None
        self.facts: ModelFacts | None = None
        self.progress: str | None = None

    @abstractmethod
    async def _start(self) -> Started:
        """Start the process and wait until it can answer; what there is of it is stopped by `_stop` when this fails.

        :raises EngineFailed: it died, or took too long.
        """

    @abstractmethod
    async def _stop(self) -> None:
        """End every process of it, and every answer. Safe to call twice."""

    @abstractmethod
    async def _own(self, started: Started) -> None:
        """Wait for its end, which nobody asked for, and do what is to be done then."""

    async def load(self) -> None:
        self._to(Event.LOAD)
        try:
            started = await self._start()
        except EngineFailed as error:
            await self._stop()
            self._to(Event.LOAD_FAILED, str(error))
            raise
        except BaseException:
            await self._stop()
            self._to(Event.UNLOAD)
            raise
        self._to(Event.LOADED)
        self._owner = asyncio.create_task(self._own(started), name=self._owner_name)

    async def unload(self) -> None:
        owner, self._owner = self._owner, None
        if owner:
            owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await owner
        await self._stop()
        if self.state is not EngineState.STOPPED:
            self._to(Event.UNLOAD)

    def _to(self, event: Event, failure: str | None = None) -> None:
        self.state = lifecycle.after(self.state, event)
        self.failure = failure

    def _not_ready(self) -> EngineFailed:
        """What a request is told that came when nothing serves."""
        return EngineFailed(self.failure or f"the model is not loaded (it is {self.state})")
