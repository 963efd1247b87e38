"""All models of this agent: looked up, loaded on first use, unloaded after idleness, pinned, fetched at start.

Models with the same files (a copy, or one with a system prompt of its own) share one engine.

Knows engines by their protocol and models by `Artifact`; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from vllama_agent.engines.base import Engine
from vllama_agent.fetches import Fetch, Fetches, Find
from vllama_agent.pool.budget import Budget
from vllama_agent.pool.declared import Declared, Difference
from vllama_agent.pool.loader import UNLOAD_TIMEOUT
from vllama_agent.pool.models import Artifact, Store, key_of
from vllama_agent.pool.pins import Pins
from vllama_agent.pool.readiness import REVIVAL, Readiness
from vllama_agent.pool.residency import MakeEngine, Residency
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.rooms import Rooms, Surroundings
from vllama_agent.pool.settings import Settings
from vllama_agent.pool.tasks import Tasks
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.errors import ModelNotFound, VllamaError
from vllama_core.serve_spec import ModelSpec

log = logging.getLogger(__name__)


class Pool:
    """All models of this agent.

    :param make_engine: see `residency.MakeEngine`.
    :param find: asks where a model is that the store lacks; None: nothing is fetched.
    :param budget: what all models together may take.
    :param surroundings: what sizing sees of the machine.
    :param revival: see `readiness.REVIVAL`.
    """

    def __init__(
        self,
        store: Store,
        make_engine: MakeEngine,
        config: AgentConfig,
        *,
        find: Find | None = None,
        budget: Budget | None = None,
        surroundings: Surroundings | None = None,
        revival: float = REVIVAL,
    ) -> None:
        self.store = store
        self._fetches = Fetches(find)
        self._later = Fetches(find)
        """Of models that the agent is ready without."""
        self._opening: str | None = None
        self._ahead: set[str] = set()
        """References that were pinned before the server was there."""
        self._tasks = Tasks()
        self.budget = budget or Budget()
        self._settings = Settings(config.load, managed=config.managed)
        self._pins = Pins(self._settings, hold=config.keep_alive is None)
        self._residency = Residency(
            make_engine,
            config,
            self._settings,
            pins=self._pins,
            tasks=self._tasks,
            budget=self.budget,
            rooms=Rooms(self.budget, self._settings, surroundings or Surroundings()),
        )
        self._readiness = Readiness(self._pins, self._tasks, self._residency.use, self._residency.of, revival=revival)
        self._residency.on_lost = self._readiness.lost
        self._declared = Declared(
            store=store,
            settings=self._settings,
            pins=self._pins,
            residency=self._residency,
            readiness=self._readiness,
            fetches=self._fetches,
            later=self._later,
            tasks=self._tasks,
        )

    # --- looking up -------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Artifact:
        """The model that a request names: a pinned one, or one of the store.

        :raises ModelNotFound: there is none.
        :raises InvalidRequest: the name cannot be one.
        """
        if not name:
            raise ModelNotFound(name)
        pinned = self._pins.get(name)
        found: Artifact = pinned if pinned is not None else self.store.find(name)
        return found

    def models(self) -> list[Artifact]:
        """Pinned models, and those of the store, newest first."""
        stored = {key_of(artifact.name): artifact for artifact in self.store.models()}
        return sorted((stored | self._pins.by_key).values(), key=lambda artifact: artifact.modified_at, reverse=True)

    def residents(self) -> list[Resident]:
        """Loaded models that get requests, longest remaining first."""
        return sorted((r for r in self._residency.all() if r.loaded), key=self.seconds_left, reverse=True)

    def present(self) -> list[Resident]:
        """As `residents`, and those that only finish what they have begun."""
        return self.residents() + [r for r in self._residency.leaving if r.loaded and r.answering]

    def loads(self) -> Mapping[str, int]:
        """How often each model was loaded since the agent's start."""
        return self._residency.loader.loads

    def memory_taken(self) -> int:
        """Bytes of the budget that models take, as far as is known."""
        return sum(occupant.need.bytes for occupant in self._residency.occupants())

    def resident_of(self, artifact: Artifact) -> Resident | None:
        """The engine that a model has, loaded or loading, perhaps under the name of another one."""
        return self._residency.of(artifact)

    def settings_of(self, artifact: Artifact) -> LoadConfig:
        """What a model is loaded with, or will be."""
        return self._settings.of(artifact)

    def loading(self) -> list[Resident]:
        """Models that are being loaded."""
        return [r for r in self._residency.all() if not r.loading.done()]

    def seconds_left(self, resident: Resident) -> float:
        """Until it is unloaded; counted from now while it is in use."""
        return self._residency.seconds_left(resident)

    # --- using ------------------------------------------------------------------------------------------------------

    def use(
        self, artifact: Artifact, keep_alive: float | None = None, *, num_ctx: int | None = None
    ) -> AbstractAsyncContextManager[Engine]:
        """An engine that is ready, kept loaded meanwhile and for `keep_alive` seconds after.

        :param num_ctx: tokens of context that are wanted: an idle model is loaded anew with more where the memory allows it.

        Entering raises:

        :raises EngineFailed: it cannot be loaded, or not within `load_timeout`.
        :raises Busy: other models answer in its memory, and went on for longer than `memory_wait`.
        :raises DoesNotFit: it needs more memory than there is for it.
        """
        return self._residency.use(artifact, keep_alive, num_ctx=num_ctx)

    def unload(self, artifact: Artifact) -> None:
        """Unload when the requests that use it are answered. A pinned model of a managed agent stays."""
        self._residency.unload(artifact)

    async def forget(self, artifact: Artifact) -> None:
        """A model is about to lose its name: no pin holds it any more, and its engine goes. As `release`."""
        self._readiness.forget(artifact.name)
        self._pins.drop(artifact.name)
        await self.release(artifact)

    async def release(self, artifact: Artifact) -> None:
        """Unload what a name meant until now, unless another name has the same engine.

        Waits for the engine's end when nobody uses it; what is in use ends with its last request.
        """
        key = key_of(artifact.name)
        if any(other.engine_key == artifact.engine_key and key_of(other.name) != key for other in self.models()):
            return
        self.unload(artifact)
        with contextlib.suppress(TimeoutError):  # its files stay until the next collection
            async with asyncio.timeout(UNLOAD_TIMEOUT):
                for resident in list(self._residency.leaving):
                    if resident.artifact.engine_key == artifact.engine_key and not resident.users:
                        await resident.gone.wait()

    def renew(self, artifact: Artifact) -> None:
        """A name means another model from now on, also where it is pinned."""
        older = self._pins.get(artifact.name)
        if older is not None:
            self._pins.add(artifact)
            if older.engine_key != artifact.engine_key:
                self.unload(older)

    # --- pins -------------------------------------------------------------------------------------------------------

    def pin_ahead(self, refs: tuple[str, ...]) -> None:
        """As `pin`, before there is a server: what is not here, or wrong, is left to `fetch_and_pin`, which is to be called in any case."""
        for ref in refs:
            with contextlib.suppress(VllamaError):
                self.pin((ref,))
                self._ahead.add(ref)

    def pin(self, refs: tuple[str, ...]) -> None:
        """Load these and keep them; `unready` tells how far it is.

        :raises ModelNotFound, ConfigError: a reference leads nowhere.
        """
        for ref in refs:
            self._pin(self.store.resolve(ref))

    def _pin(self, artifact: Artifact) -> None:
        self._pins.add(artifact)
        self._readiness.expect(artifact)

    async def preload(self, refs: tuple[str, ...]) -> None:
        """Load these, as a request would, if nobody has to go for it; what the store lacks is fetched first. They are not waited for.

        :raises ModelNotFound, ConfigError, FetchFailed: a reference leads nowhere, or nobody can be asked.
        """
        for ref in refs:
            try:
                self._preload(self.store.resolve(ref))
            except ModelNotFound as error:
                fetch = await self._later.find(ref, error)
                self._tasks.own(self._fetched(fetch, self._later, self._preload), f"fetch {fetch.name}")

    def _preload(self, artifact: Artifact) -> None:
        self._tasks.own(self._load_if_it_fits(artifact), f"preload {artifact.name}")

    async def _load_if_it_fits(self, artifact: Artifact) -> None:
        try:
            async with self._residency.use(artifact, polite=True):
                log.info("preloaded", extra={"model": artifact.name})
        except VllamaError as error:
            log.warning("%s", error, extra={"model": artifact.name})

    async def fetch_and_pin(self, refs: tuple[str, ...]) -> None:
        """As `pin`; what the store lacks is looked for now, so that a wrong name is told at once, and fetched while the rest serves.

        :raises ModelNotFound, ConfigError, FetchFailed: a reference leads nowhere, or nobody can be asked.
        """
        for ref in refs:
            if ref in self._ahead:
                continue
            try:
                self.pin((ref,))
            except ModelNotFound as error:
                fetch = await self._fetches.find(ref, error)
                self._tasks.own(self._fetched(fetch, self._fetches, self._pin), f"fetch {fetch.name}")

    async def _fetched(self, fetch: Fetch, fetches: Fetches, then: Callable[[Artifact], None]) -> None:
        await fetches.run(fetch)
        then(self.store.resolve(fetch.ref))

    async def declare(self, specs: Sequence[ModelSpec], *, first: bool = False) -> Difference:
        """The models of `vllama.yaml` are these from now on; see `declared.Declared.become`."""
        return await self._declared.become(specs, first=first)

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Meanwhile the models of the start are being named: nobody is ready who does not know yet what for."""
        self._opening = "the models to serve are being looked up"
        try:
            yield
        finally:
            self._opening = None

    def unready(self) -> str | None:
        """Why this agent should get no requests; None = it should."""
        return self._opening or self._fetches.waiting or self._readiness.unready()

    def starting(self) -> str | None:
        """Which pinned model never answered yet; None = all did, once."""
        return self._opening or self._fetches.waiting or self._readiness.starting()

    # --- the end ----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop every engine; nothing is loaded after."""
        self._tasks.cancel()
        self._residency.close()
        await self._tasks.end()
