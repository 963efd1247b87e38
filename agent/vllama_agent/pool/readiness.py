"""Whether the pinned models answer, and the attempts that go on until they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from vllama_agent.engines.base import Engine, EngineState, GenerateRequest, Sampling
from vllama_agent.pool.models import Artifact, key_of
from vllama_agent.pool.pins import Pins
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.tasks import Tasks
from vllama_core.errors import EngineFailed, VllamaError
from vllama_core.progress import Failure

log = logging.getLogger(__name__)

WARM_TIMEOUT = 120.0
"""Seconds for the one-token answer that proves a pinned model; minutes mean a machine that cannot serve it."""
FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds between attempts to load a pinned model that failed; doubled each time."""
REVIVAL = 30.0
"""Seconds between looks at the pinned models' engines: one that gave up gets a successor, though no request asks for it."""

Use = Callable[[Artifact], AbstractAsyncContextManager[Engine]]


class Readiness:
    """Loads pinned models, proves that they answer, and tells how far that is.

    :param use: loads a model and holds it, as a request does.
    :param revival: see `REVIVAL`.
    """

    def __init__(self, pins: Pins, tasks: Tasks, use: Use, resident_of: Callable[[Artifact], Resident | None], *, revival: float) -> None:
        self._pins = pins
        self._tasks = tasks
        self._use = use
        self._resident_of = resident_of
        self._revival = revival
        self._reviving = False
        self._trying: dict[str, asyncio.Task[None]] = {}
        self._later: set[str] = set()
        """Pinned while the agent served already: it stays ready until they have answered once."""
        self._warm: set[str] = set()
        self._answered: set[str] = set()
        self._failures: dict[str, str] = {}

    def expect(self, artifact: Artifact, *, gate: bool = True) -> None:
        """A model was pinned: load it, and see to it that it comes back when its engine gives up.

        :param gate: the agent is not ready before it is.
        """
        self.forget(artifact.name)
        if not gate:
            self._later.add(key_of(artifact.name))
        self._try(artifact)
        if not self._reviving:
            self._reviving = True
            self._tasks.own(self._revive(), "revive pinned models")

    def forget(self, name: str) -> None:
        """It is pinned no longer, or anew."""
        key = key_of(name)
        trying = self._trying.pop(key, None)
        if trying is not None:
            trying.cancel()
        self._later.discard(key)
        self._warm.discard(key)
        self._answered.discard(key)
        self._failures.pop(key, None)

    def lost(self, artifact: Artifact, why: str) -> None:
        """The engine of a model, pinned or not, is gone and did not come back."""
        for pinned in self._pins.of(artifact):
            key = key_of(pinned.name)
            if key in self._warm:  # else it is being tried already
                self._warm.discard(key)
                self._failures[key] = why
                self._try(pinned)

    def _try(self, artifact: Artifact) -> None:
        self._trying[key_of(artifact.name)] = self._tasks.own(self._keep_trying(artifact), f"pin {artifact.name}")

    def unready(self) -> str | None:
        """Why this agent should get no requests; None = it should."""
        for key, artifact in self._pins.by_key.items():
            if key in self._later:
                continue
            resident = self._resident_of(artifact)
            if resident is not None and resident.engine.state in (EngineState.RESTARTING, EngineState.FAILED):
                return f"the engine of {artifact.name} is {resident.engine.state}: {resident.engine.failure or 'it stopped'}"
            if key not in self._warm:
                why = self._failures.get(key)
                return f"{artifact.name} could not be loaded: {why}" if why else f"{artifact.name} is loading{self._progress(artifact)}"
        return None

    def starting(self) -> str | None:
        """Which pinned models never answered yet; None = all did, once."""
        waiting = [artifact for key, artifact in self._pins.by_key.items() if key not in self._answered | self._later]
        told = ", ".join(artifact.name for artifact in waiting)
        return f"{told}: loading{''.join(map(self._progress, waiting))}" if waiting else None

    def _progress(self, artifact: Artifact) -> str:
        """How far a load is, in brackets; empty where its engine does not tell."""
        resident = self._resident_of(artifact)
        return f" ({resident.engine.progress})" if resident is not None and resident.engine.progress else ""

    async def _revive(self) -> None:
        """Until the pool is closed: an engine that gave up is tried again. One that never was ready is still being tried."""
        while True:
            await asyncio.sleep(self._revival)
            for artifact in list(self._pins.by_key.values()):
                resident = self._resident_of(artifact)
                if resident is not None and resident.engine.state is EngineState.FAILED:
                    self.lost(artifact, resident.engine.failure or "it stopped")

    async def _keep_trying(self, artifact: Artifact) -> None:
        key, wait = key_of(artifact.name), FIRST_RETRY
        while key in self._pins.by_key:
            try:
                await self._warm_up(artifact)
            except (VllamaError, TimeoutError) as error:
                problem = error if isinstance(error, VllamaError) else EngineFailed(f"no answer within {WARM_TIMEOUT:g} seconds")
                self._failures[key] = str(problem)
                extra = {"model": artifact.name, "retry_seconds": wait, "failure": Failure.of(problem).as_fields()}
                log.warning("a pinned model is not ready: %s", problem, extra=extra)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LAST_RETRY)
            else:
                self._later.discard(key)
                self._warm.add(key)
                self._answered.add(key)
                log.info("model is ready", extra={"model": artifact.name})
                return

    async def _warm_up(self, artifact: Artifact) -> None:
        """One token: the engine can not only start but answer. A model without text generation is ready when it is loaded."""
        async with self._use(artifact) as engine:
            if engine.facts is not None and "completion" not in engine.facts.capabilities:
                return
            request = GenerateRequest(prompt="Hello", max_tokens=1, sampling=Sampling(temperature=0))
            async with asyncio.timeout(WARM_TIMEOUT), engine.generate(request) as generation:
                async for _ in generation:
                    pass
