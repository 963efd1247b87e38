"""Which models are loaded: load on first use, one load at a time, unload after idleness, pins.

Models with the same files (a copy, or one with a system prompt of its own) share one engine.

Knows engines by their protocol and models by `Artifact`; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from vllama_agent.engines.base import Engine, EngineState, GenerateRequest, Sampling
from vllama_agent.fetches import Fetch, Fetches, Find
from vllama_core.config import AgentConfig
from vllama_core.errors import EngineFailed, ModelNotFound, VllamaError
from vllama_core.gguf import GgufHeader

log = logging.getLogger(__name__)

DEFAULT_KEEP_ALIVE = 300.0
"""Seconds, as Ollama's."""
WARM_TIMEOUT = 120.0
"""Seconds for the one-token answer that proves a pinned model; minutes mean a machine that cannot serve it."""
UNLOAD_TIMEOUT = 60.0
"""Seconds an engine may take to stop before the pool goes on without it; its keeper kills it."""
FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds between attempts to load a pinned model that failed; doubled each time."""
REVIVAL = 30.0
"""Seconds between looks at the pinned models' engines: one that gave up gets a successor, though no request asks for it."""


class Hold(Protocol):
    """What keeps a loaded model's files from being removed."""

    def release(self) -> None: ...


class Artifact(Protocol):
    """A stored model; the store's class has more."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified_at(self) -> datetime: ...
    @property
    def header(self) -> GgufHeader: ...
    @property
    def brief(self) -> GgufHeader: ...
    @property
    def license(self) -> tuple[str, ...]: ...
    def hold(self) -> Hold: ...
    @property
    def engine_key(self) -> tuple[object, ...]: ...
    @property
    def adapters(self) -> tuple[Path, ...]: ...
    @property
    def template(self) -> str | None: ...
    @property
    def system(self) -> str | None: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def messages(self) -> tuple[dict[str, Any], ...]: ...
    def details(self) -> dict[str, Any]: ...


class Store(Protocol):
    """Where models are looked up."""

    def models(self) -> list[Any]: ...
    def find(self, name: str) -> Any: ...
    def resolve(self, ref: str) -> Any: ...


@dataclass(eq=False)
class Resident:
    """A model with its engine: loading, loaded, or on its way out."""

    artifact: Artifact
    engine: Engine
    loading: asyncio.Task[None]
    held: Hold
    keep_alive: float
    """Seconds of idleness; infinity = never unloaded."""
    users: int = 0
    idle_since: float = 0.0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    gone: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when its engine has stopped."""

    @property
    def loaded(self) -> bool:
        """Whether the first load is over and went well."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None


class Pool:
    """All models of this agent.

    :param make_engine: an engine for a stored model; nothing is started by it.
    :param find: asks where a model is that the store lacks; None: nothing is fetched.
    :param revival: see `REVIVAL`.
    """

    def __init__(
        self,
        store: Store,
        make_engine: Callable[[Any], Engine],
        config: AgentConfig,
        *,
        find: Find | None = None,
        revival: float = REVIVAL,
    ) -> None:
        self.store = store
        self._fetches = Fetches(find)
        self._make_engine = make_engine
        self._config = config
        self._revival = revival
        self._residents: dict[tuple[object, ...], Resident] = {}
        self._leaving: set[Resident] = set()
        self._pinned: dict[str, Artifact] = {}
        self._warm: set[str] = set()
        self._answered: set[str] = set()
        self._failures: dict[str, str] = {}
        self._one_load = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._reviving = False

    # --- looking up -------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Artifact:
        """The model that a request names: a pinned one, or one of the store.

        :raises ModelNotFound: there is none.
        :raises InvalidRequest: the name cannot be one.
        """
        if not name:
            raise ModelNotFound(name)
        pinned = self._pinned.get(key_of(name))
        found: Artifact = pinned if pinned is not None else self.store.find(name)
        return found

    def models(self) -> list[Artifact]:
        """Pinned models, and those of the store, newest first."""
        stored = {key_of(artifact.name): artifact for artifact in self.store.models()}
        return sorted((stored | self._pinned).values(), key=lambda artifact: artifact.modified_at, reverse=True)

    def residents(self) -> list[Resident]:
        """Loaded models, longest remaining first."""
        return sorted((r for r in self._residents.values() if r.loaded), key=self.seconds_left, reverse=True)

    def resident_of(self, artifact: Artifact) -> Resident | None:
        """The engine that a model has, loaded or loading, perhaps under the name of another one."""
        return self._residents.get(artifact.engine_key)

    def loading(self) -> list[Resident]:
        """Models that are being loaded."""
        return [r for r in self._residents.values() if not r.loading.done()]

    def seconds_left(self, resident: Resident) -> float:
        """Until it is unloaded; counted from now while it is in use."""
        if resident.users or math.isinf(resident.keep_alive):
            return resident.keep_alive
        return max(0.0, resident.keep_alive - (asyncio.get_running_loop().time() - resident.idle_since))

    # --- using ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def use(self, artifact: Artifact, keep_alive: float | None = None) -> AsyncIterator[Engine]:
        """An engine that is ready, kept loaded meanwhile and for `keep_alive` seconds after.

        :raises EngineFailed: it cannot be loaded, or not within `load_timeout`.
        """
        resident = self._resident(artifact)
        resident.users += 1
        self._stop_timer(resident)
        resident.keep_alive = self._seconds(artifact, keep_alive)
        try:
            await self._loaded(resident)
            yield resident.engine
        finally:
            resident.users -= 1
            self._rest(resident)

    def unload(self, artifact: Artifact) -> None:
        """Unload when the requests that use it are answered. A pinned model of a managed agent stays."""
        resident = self.resident_of(artifact)
        if resident is None or (self._is_pinned(artifact) and self._config.managed):
            return
        resident.keep_alive = 0.0
        if not resident.users:
            self._rest(resident)

    async def forget(self, artifact: Artifact) -> None:
        """A model is about to lose its name: no pin holds it any more, and its engine goes. As `release`."""
        self._pinned.pop(key_of(artifact.name), None)
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
                for resident in [leaving for leaving in self._leaving if leaving.artifact.engine_key == artifact.engine_key]:
                    await resident.gone.wait()

    def renew(self, artifact: Artifact) -> None:
        """A name means another model from now on, also where it is pinned."""
        key = key_of(artifact.name)
        older = self._pinned.get(key)
        if older is not None:
            self._pinned[key] = artifact
            if older.engine_key != artifact.engine_key:
                self.unload(older)

    def _resident(self, artifact: Artifact) -> Resident:
        if self._closed:
            raise EngineFailed("the server is shutting down")
        resident = self.resident_of(artifact)
        if resident is not None and resident.engine.state is EngineState.FAILED:
            self._discard(resident)
            resident = None
        if resident is None:
            held = _held(artifact)
            engine = self._make_engine(artifact)
            loading = self._own(self._load(engine, artifact.name), f"load {artifact.name}")
            resident = Resident(artifact, engine, loading, held, self._seconds(artifact, None))
            loading.add_done_callback(lambda task: self._load_ended(resident, task))
            self._residents[artifact.engine_key] = resident
        return resident

    async def _load(self, engine: Engine, name: str) -> None:
        async with self._one_load:
            log.info("loading model", extra={"model": name})
            started = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._config.load_timeout):
                    await engine.load()
            except TimeoutError:
                await self._stop(engine, name)
                raise EngineFailed(f"loading {name} took longer than {self._config.load_timeout:g} seconds") from None
            except VllamaError:
                raise
            except Exception as error:
                log.exception("an engine failed to load", extra={"model": name})
                raise EngineFailed(f"loading {name} failed: {type(error).__name__}") from error
            log.info("model loaded", extra={"model": name, "seconds": round(asyncio.get_running_loop().time() - started, 3)})

    def _load_ended(self, resident: Resident, task: asyncio.Task[None]) -> None:
        """Nobody may be waiting any more, so the outcome is looked at here."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("model failed to load: %s", error, extra={"model": resident.artifact.name})
            self._discard(resident)
            for artifact in self._pins_of(resident.artifact):
                self._try_again(artifact, str(error))
        elif not resident.users:
            self._rest(resident)

    async def _loaded(self, resident: Resident) -> None:
        """Wait for the load, which goes on for the others when this caller leaves. Loads before it count too."""
        if resident.loading.done() and resident.loaded:
            return
        try:
            async with asyncio.timeout(self._config.load_timeout):
                await asyncio.shield(resident.loading)
        except TimeoutError:
            waited = f"{self._config.load_timeout:g} seconds"
            raise EngineFailed(f"{resident.artifact.name} was not loaded within {waited}; other models were loading before it") from None
        except asyncio.CancelledError:
            if resident.loading.cancelled():
                raise EngineFailed("the server is shutting down") from None
            raise

    # --- resting ----------------------------------------------------------------------------------------------------

    def _seconds(self, artifact: Artifact, asked: float | None) -> float:
        if self._is_pinned(artifact):
            return 0.0 if asked == 0 and not self._config.managed else math.inf
        default = DEFAULT_KEEP_ALIVE if self._config.keep_alive is None else self._config.keep_alive
        seconds = default if asked is None else asked
        return math.inf if seconds < 0 else seconds

    def _is_pinned(self, artifact: Artifact) -> bool:
        return self._config.keep_alive is None and bool(self._pins_of(artifact))

    def _pins_of(self, artifact: Artifact) -> list[Artifact]:
        """The pinned models that share its engine."""
        return [pinned for pinned in self._pinned.values() if pinned.engine_key == artifact.engine_key]

    def _rest(self, resident: Resident) -> None:
        """The last user left: unload now, later or never."""
        if resident.users or self.resident_of(resident.artifact) is not resident:
            return
        self._stop_timer(resident)
        loop = asyncio.get_running_loop()
        resident.idle_since = loop.time()
        if resident.keep_alive <= 0:
            self._discard(resident)
        elif math.isfinite(resident.keep_alive):
            resident.timer = loop.call_later(resident.keep_alive, self._expire, resident)

    def _expire(self, resident: Resident) -> None:
        if not resident.users:
            self._discard(resident)

    def _discard(self, resident: Resident) -> None:
        """Forget it at once, so that the next request loads anew, and stop its engine."""
        if self.resident_of(resident.artifact) is resident:
            del self._residents[resident.artifact.engine_key]
            self._stop_timer(resident)
            log.info("unloading model", extra={"model": resident.artifact.name})
            self._leaving.add(resident)
            self._own(self._unload(resident), f"unload {resident.artifact.name}")

    async def _unload(self, resident: Resident) -> None:
        """In turn with the loads: the next one needs the memory that this one frees."""
        if not resident.loading.done():
            resident.loading.cancel()
        async with self._one_load:
            await self._stop(resident.engine, resident.artifact.name)
        resident.held.release()
        self._leaving.discard(resident)
        resident.gone.set()

    async def _stop(self, engine: Engine, name: str) -> None:
        try:
            async with asyncio.timeout(UNLOAD_TIMEOUT):
                await engine.unload()
        except Exception:
            log.exception("an engine did not stop in order", extra={"model": name})

    def _stop_timer(self, resident: Resident) -> None:
        if resident.timer is not None:
            resident.timer.cancel()
            resident.timer = None

    # --- pins -------------------------------------------------------------------------------------------------------

    def pin(self, refs: tuple[str, ...]) -> None:
        """Load these and keep them; `unready` tells how far it is.

        :raises ModelNotFound, ConfigError: a reference leads nowhere.
        """
        for ref in refs:
            artifact = self.store.resolve(ref)
            self._pinned[key_of(artifact.name)] = artifact
            self._own(self._keep_trying(artifact), f"pin {artifact.name}")
        if refs and not self._reviving:
            self._reviving = True
            self._own(self._revive(), "revive pinned models")

    async def fetch_and_pin(self, refs: tuple[str, ...]) -> None:
        """As `pin`; what the store lacks is looked for now, so that a wrong name is told at once, and fetched while the rest serves.

        :raises ModelNotFound, ConfigError, FetchFailed: a reference leads nowhere, or nobody can be asked.
        """
        for ref in refs:
            try:
                self.pin((ref,))
            except ModelNotFound as error:
                fetch = await self._fetches.find(ref, error)
                self._own(self._fetched(fetch), f"fetch {fetch.name}")

    async def _fetched(self, fetch: Fetch) -> None:
        await self._fetches.run(fetch)
        self.pin((fetch.ref,))

    def unready(self) -> str | None:
        """Why this agent should get no requests; None = it should."""
        if self._fetches.waiting is not None:
            return self._fetches.waiting
        for key, artifact in self._pinned.items():
            resident = self.resident_of(artifact)
            if resident is not None and resident.engine.state in (EngineState.RESTARTING, EngineState.FAILED):
                return f"the engine of {artifact.name} is {resident.engine.state}: {resident.engine.failure or 'it stopped'}"
            if key not in self._warm:
                why = self._failures.get(key)
                return f"{artifact.name} could not be loaded: {why}" if why else f"{artifact.name} is loading"
        return None

    def starting(self) -> str | None:
        """Which pinned model never answered yet; None = all did, once."""
        if self._fetches.waiting is not None:
            return self._fetches.waiting
        waiting = [artifact.name for key, artifact in self._pinned.items() if key not in self._answered]
        return f"{', '.join(waiting)}: loading" if waiting else None

    def _try_again(self, artifact: Artifact, why: str) -> None:
        """A pinned model that was ready once failed to come back."""
        key = key_of(artifact.name)
        if key in self._warm:
            self._warm.discard(key)
            self._failures[key] = why
            self._own(self._keep_trying(artifact), f"pin {artifact.name}")

    async def _revive(self) -> None:
        """Until `close`: an engine that gave up is tried again. One that never was ready is still being tried."""
        while True:
            await asyncio.sleep(self._revival)
            for artifact in self._pinned.values():
                resident = self.resident_of(artifact)
                if resident is not None and resident.engine.state is EngineState.FAILED:
                    self._try_again(artifact, resident.engine.failure or "it stopped")

    async def _keep_trying(self, artifact: Artifact) -> None:
        key, wait = key_of(artifact.name), FIRST_RETRY
        while key in self._pinned:
            try:
                await self._warm_up(artifact)
            except (VllamaError, TimeoutError) as error:
                self._failures[key] = str(error) or f"no answer within {WARM_TIMEOUT:g} seconds"
                log.warning("a pinned model is not ready: %s", self._failures[key], extra={"model": artifact.name, "retry_seconds": wait})
                await asyncio.sleep(wait)
                wait = min(wait * 2, LAST_RETRY)
            else:
                self._warm.add(key)
                self._answered.add(key)
                log.info("model is ready", extra={"model": artifact.name})
                return

    async def _warm_up(self, artifact: Artifact) -> None:
        """One token: the engine can not only start but answer. A model without text generation is ready when it is loaded."""
        async with self.use(artifact) as engine:
            if engine.facts is not None and "completion" not in engine.facts.capabilities:
                return
            request = GenerateRequest(prompt="Hello", max_tokens=1, sampling=Sampling(temperature=0))
            async with asyncio.timeout(WARM_TIMEOUT), engine.generate(request) as generation:
                async for _ in generation:
                    pass

    # --- the end ----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop every engine; nothing is loaded after."""
        self._closed = True
        for task in list(self._tasks):
            if not task.get_name().startswith("unload "):
                task.cancel()
        for resident in list(self._residents.values()):
            self._discard(resident)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _held(artifact: Artifact) -> Hold:
    """Take hold of a model's files before anything is loaded from them.

    :raises EngineFailed: one is not there any more.
    """
    try:
        return artifact.hold()
    except OSError as error:
        raise EngineFailed(f"{artifact.name} cannot be loaded: {error.filename}: {error.strerror or error}") from error


def key_of(name: str) -> str:
    """Names are compared without case, and `latest` is implied."""
    folded = name.casefold()
    return folded if ":" in folded.rpartition("/")[2] else f"{folded}:latest"
