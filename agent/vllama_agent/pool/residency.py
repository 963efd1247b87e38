"""The engines that there are: made on first use, kept while they are used and for a while after, and let go."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from vllama_agent.engines.base import Engine, EngineState
from vllama_agent.pool.budget import Budget, Occupant, Use
from vllama_agent.pool.change import Change
from vllama_agent.pool.contexts import Contexts
from vllama_agent.pool.loader import UNLOAD_TIMEOUT, Loader
from vllama_agent.pool.models import Artifact, held
from vllama_agent.pool.pins import Pins
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.rooms import Rooms
from vllama_agent.pool.settings import Key, Settings
from vllama_agent.pool.tasks import UNLOAD, Tasks
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.errors import EngineFailed

log = logging.getLogger(__name__)

DEFAULT_KEEP_ALIVE = 300.0
"""Seconds, as Ollama's."""

MakeEngine = Callable[[Any, LoadConfig], Engine]
"""An engine for a stored model and the settings to load it with, every size decided; nothing is started by it."""


class Residency:
    """Residents by what their engine is loaded with.

    :ivar on_lost: told when a model fails to load, with the reason.
    :ivar leaving: those that get no new requests: their engines are stopped, or will be when their last user has left.
    """

    def __init__(
        self,
        make_engine: MakeEngine,
        config: AgentConfig,
        settings: Settings,
        *,
        pins: Pins,
        tasks: Tasks,
        budget: Budget,
        rooms: Rooms,
    ) -> None:
        self._make_engine = make_engine
        self._config = config
        self._settings = settings
        self._pins = pins
        self._tasks = tasks
        self._rooms = rooms
        self._change = Change()
        self.loader = Loader(budget, self._change, occupants=self.occupants, dismiss=self.dismiss, load_timeout=config.load_timeout)
        self.on_lost: Callable[[Artifact, str], None] = lambda artifact, why: None
        self._residents: dict[Key, Resident] = {}
        self.leaving: set[Resident] = set()
        self._contexts = Contexts(settings)
        self._closed = False

    def all(self) -> list[Resident]:
        """Those that get requests, loading ones among them."""
        return list(self._residents.values())

    def of(self, artifact: Artifact) -> Resident | None:
        """The engine that a model has, loaded or loading, perhaps under the name of another one."""
        return self._residents.get(self._settings.key(artifact))

    def occupants(self) -> list[Occupant]:
        """Those that take memory. One that waits for its turn takes none yet."""
        staying = [resident.occupant(self._use(resident)) for resident in self.all() if resident.begun.is_set()]
        return staying + [resident.occupant(Use.LEAVING) for resident in self.leaving if resident.begun.is_set()]

    def _use(self, resident: Resident) -> Use:
        if resident.artifact in self._pins and resident.keep_alive > 0:
            return Use.PINNED
        return Use.BUSY if resident.users else Use.IDLE

    # --- using ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def use(
        self, artifact: Artifact, keep_alive: float | None = None, *, num_ctx: int | None = None, polite: bool = False
    ) -> AsyncIterator[Engine]:
        """See `pool.Pool.use`.

        :param polite: load it only where nobody has to go for it.
        """
        resident = self._resident(artifact, num_ctx, polite=polite)
        resident.polite = resident.polite and polite
        resident.users += 1
        resident.last_used = asyncio.get_running_loop().time()
        resident.stop_timer()
        resident.keep_alive = self._seconds(artifact, keep_alive)
        try:
            await self._loaded(resident)
            yield resident.engine
        finally:
            resident.users -= 1
            resident.last_used = asyncio.get_running_loop().time()
            self._rest(resident)
            self._change.tell()

    def unload(self, artifact: Artifact) -> None:
        """When the requests that use it are answered. A pinned model of a managed agent stays."""
        resident = self.of(artifact)
        if resident is None or (artifact in self._pins and self._config.managed):
            return
        resident.keep_alive = 0.0
        if not resident.users:
            self._rest(resident)

    def close(self) -> None:
        """Stop every engine; nothing is loaded after."""
        self._closed = True
        for resident in self.all():
            self.dismiss(resident, "the server is shutting down")
        self._change.tell()

    def _resident(self, artifact: Artifact, num_ctx: int | None, *, polite: bool) -> Resident:
        """The one that there is, or a new one.

        :raises EngineFailed: the server is shutting down, or the model's files are not there any more.
        """
        if self._closed:
            raise EngineFailed("the server is shutting down")
        resident = self.of(artifact)
        if resident is not None and resident.engine.state is EngineState.FAILED:
            self.dismiss(resident, "its engine gave up")
            resident = None
        wider = self._wider(artifact, resident, num_ctx)
        if wider is not None and resident is not None:
            self.dismiss(resident, f"a request wants a context of {num_ctx}")
            resident = None
        if resident is None:
            resident = wider or self._new(artifact)
            resident.polite = polite
            self._begin(resident)
        return resident

    def _wider(self, artifact: Artifact, resident: Resident | None, num_ctx: int | None) -> Resident | None:
        """What takes the place of an idle model, or is loaded at once, where a request wants more context and there is memory for it."""
        context = self._contexts.wanted(artifact, resident, num_ctx)
        if context is None:
            return None
        wider = self._new(artifact, context, instead_of=resident)
        if self.loader.would_fit(wider, instead_of=resident):
            return wider
        wider.held.release()
        return None

    def _new(self, artifact: Artifact, context: int | None = None, *, instead_of: Resident | None = None) -> Resident:
        """
        :param context: tokens that a request wants; nobody goes for it.
        :param instead_of: whose memory it will have.
        :raises EngineFailed: the model's files are not there any more or cannot be read, or its settings contradict each other.
        """
        settings = self._settings.of(artifact)
        if context is not None:
            settings = replace(settings, ctx_size=context)
        others = [resident.occupant(self._use(resident)) for resident in self.all() if resident is not instead_of]
        sized = self._rooms.sized(artifact, settings, others, polite=context is not None)
        return Resident(
            artifact=artifact,
            key=self._settings.key(artifact),
            held=held(artifact),
            engine=self._make_engine(artifact, sized.config),
            sized=sized,
            keep_alive=self._seconds(artifact, None),
            context=context,
        )

    # --- loading ----------------------------------------------------------------------------------------------------

    def _begin(self, resident: Resident) -> None:
        self._residents[resident.key] = resident
        resident.loading = self._tasks.own(self.loader.load(resident), f"load {resident.artifact.name}")
        resident.loading.add_done_callback(lambda task: self._load_ended(resident, task))

    def _load_ended(self, resident: Resident, task: asyncio.Task[None]) -> None:
        """Nobody may be waiting any more, so the outcome is looked at here."""
        self._change.tell()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            if not resident.polite:  # else it only was not worth another one's going
                log.error("model failed to load: %s", error, extra={"model": resident.artifact.name})
            self._contexts.failed(resident)
            self.dismiss(resident, "it failed to load")
            self.on_lost(resident.artifact, str(error))
        elif not resident.users:
            self._rest(resident)

    async def _loaded(self, resident: Resident) -> None:
        """Wait for the load, which goes on for the others when this caller leaves."""
        if resident.loaded:
            return
        await self.loader.begun(resident, self._config.memory_wait)
        try:
            await asyncio.shield(resident.loading)  # which has a time limit of its own
        except asyncio.CancelledError:
            if resident.loading.cancelled():
                raise EngineFailed("the server is shutting down") from None
            raise

    # --- resting ----------------------------------------------------------------------------------------------------

    def seconds_left(self, resident: Resident) -> float:
        """Until it is unloaded; counted from now while it is in use."""
        if resident in self.leaving:
            return 0.0
        if resident.users or math.isinf(resident.keep_alive):
            return resident.keep_alive
        return max(0.0, resident.keep_alive - (asyncio.get_running_loop().time() - resident.idle_since))

    def _seconds(self, artifact: Artifact, asked: float | None) -> float:
        if artifact in self._pins:
            return 0.0 if asked == 0 and not self._config.managed else math.inf
        default = DEFAULT_KEEP_ALIVE if self._config.keep_alive is None else self._config.keep_alive
        seconds = default if asked is None else asked
        return math.inf if seconds < 0 else seconds

    def _rest(self, resident: Resident) -> None:
        """The last user left: unload now, later or never."""
        if resident.users or self._residents.get(resident.key) is not resident:
            return
        resident.stop_timer()
        loop = asyncio.get_running_loop()
        resident.idle_since = loop.time()
        if not resident.begun.is_set():
            self.dismiss(resident, "nobody waits for it any more")
        elif resident.keep_alive <= 0:
            self.dismiss(resident, "it is to be unloaded after use")
        elif math.isfinite(resident.keep_alive):
            resident.timer = loop.call_later(resident.keep_alive, self._expire, resident)

    def _expire(self, resident: Resident) -> None:
        if not resident.users:
            self.dismiss(resident, "it was idle")

    def dismiss(self, resident: Resident, why: str) -> None:
        """Forget it at once, so that the next request loads anew, and stop its engine when nobody uses it any more."""
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
            resident.stop_timer()
            log.info("unloading model", extra={"model": resident.artifact.name, "because": why})
            self.leaving.add(resident)
            self._tasks.own(self._leave(resident), f"{UNLOAD}{resident.artifact.name}")

    async def _leave(self, resident: Resident) -> None:
        """What is being loaded for somebody is loaded, used and only then stopped. Answers have limits of their own."""
        while resident.answering and not self._closed:
            await self._change.wait()
        if not resident.loading.done():
            resident.loading.cancel()
            await asyncio.wait({resident.loading}, timeout=UNLOAD_TIMEOUT)  # it stops what it has started
        await self.loader.stop(resident.engine, resident.artifact.name)
        resident.held.release()
        self.leaving.discard(resident)
        resident.gone.set()
        self._change.tell()
