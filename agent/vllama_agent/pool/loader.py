"""From a resident to a loaded engine: its turn, room for it, the load itself; and the way back."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from vllama_agent.engines.base import Engine
from vllama_agent.pool import budget
from vllama_agent.pool.budget import Budget, Decision, Evict, Fits, Refuse, Wait
from vllama_agent.pool.change import Change
from vllama_agent.pool.resident import Resident
from vllama_core.errors import Busy, DoesNotFit, EngineFailed, VllamaError

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that busy models go on taking requests while another one waits for their memory; from then on new requests for them wait behind
it. Shorter, and models that are asked for in turn are loaded again and again; longer, and one that is never idle keeps the others out."""
UNLOAD_TIMEOUT = 60.0
"""Seconds an engine may take to stop before the pool goes on without it; its keeper kills it."""
TRY_AGAIN = 5
"""Seconds that a client is told to stay away when no memory came free in time: answers take about that long."""


class Loader:
    """Loads one model at a time, within the budget: even a model on a GPU passes through the machine's memory.

    :param occupants: the models that take memory, as the budget sees them.
    :param dismiss: take a resident out of those that get requests, and end it when its last user has left; with the reason.
    :param load_timeout: seconds until a load has failed.
    :ivar loads: by model.
    """

    def __init__(
        self,
        limit: Budget,
        change: Change,
        *,
        occupants: Callable[[], list[budget.Occupant]],
        dismiss: Callable[[Resident, str], None],
        load_timeout: float,
    ) -> None:
        self._limit = limit
        self._change = change
        self._occupants = occupants
        self._dismiss = dismiss
        self._load_timeout = load_timeout
        self._turn = asyncio.Lock()
        self.loads: Counter[str] = Counter()

    async def load(self, resident: Resident) -> None:
        """In its turn.

        :raises DoesNotFit: there is no room, and none is to be had.
        :raises EngineFailed: it cannot be loaded, or not within the time.
        """
        try:
            async with self._turn:
                await self._room(resident)
                resident.begun.set()
                await self._start(resident)
        finally:
            resident.begun.set()

    async def begun(self, resident: Resident, seconds: float) -> None:
        """Wait until it is loading.

        :raises Busy: that took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                await resident.begun.wait()
        except TimeoutError:
            why = f"server busy: {resident.artifact.name} could not be loaded within {seconds:g} seconds: {resident.waiting}"
            raise Busy(why, retry_after=TRY_AGAIN) from None

    def would_fit(self, resident: Resident, *, instead_of: Resident | None = None) -> bool:
        """Whether it can be loaded without anybody else going."""
        return isinstance(self._decide(resident, without=instead_of), Fits)

    async def stop(self, engine: Engine, name: str) -> None:
        """End it, or leave it to its keeper."""
        try:
            async with asyncio.timeout(UNLOAD_TIMEOUT):
                await engine.unload()
        except Exception:
            log.exception("an engine did not stop in order", extra={"model": name})

    async def _room(self, resident: Resident) -> None:
        """Until it fits. Requests that wait for it have their own limit, and the last one that leaves ends this."""
        patience = asyncio.get_running_loop().time() + PATIENCE
        while True:
            until = None
            match self._decide(resident):
                case Fits() if not self._stopping():
                    return
                case Fits():
                    resident.waiting = "another model is being unloaded"  # an engine may size itself by what is free
                case Refuse(reason):
                    raise DoesNotFit(reason)
                case Evict() | Wait() if resident.polite:
                    raise DoesNotFit(f"{resident.artifact.name} is not preloaded: other models would have to go for it")
                case Evict(victims):
                    for victim in victims:
                        self._dismiss(victim, f"{resident.artifact.name} needs its memory")
                    continue
                case Wait(reason, victims):
                    resident.waiting = reason
                    until = patience if victims else None
                    if asyncio.get_running_loop().time() >= patience and victims:
                        for victim in victims:
                            self._dismiss(victim, f"{resident.artifact.name} waits for its memory")
                        continue
            await self._change.wait(until)

    def _decide(self, resident: Resident, *, without: Resident | None = None) -> Decision:
        others = [occupant for occupant in self._occupants() if occupant.whose not in (resident, without)]
        return budget.decide(resident.artifact.name, resident.sized.need, others, self._limit)

    def _stopping(self) -> bool:
        return any(occupant.use is budget.Use.LEAVING and not occupant.whose.answering for occupant in self._occupants())

    async def _start(self, resident: Resident) -> None:
        name, loop = resident.artifact.name, asyncio.get_running_loop()
        self.loads[name] += 1
        level = logging.INFO if resident.sized.fits else logging.WARNING
        log.log(level, "loading %s: %s", name, resident.sized.told, extra={"model": name})
        started = loop.time()
        try:
            async with asyncio.timeout(self._load_timeout):
                await resident.engine.load()
        except TimeoutError:
            await self.stop(resident.engine, name)
            raise EngineFailed(f"loading {name} took longer than {self._load_timeout:g} seconds") from None
        except VllamaError:
            raise
        except Exception as error:
            log.exception("an engine failed to load", extra={"model": name})
            raise EngineFailed(f"loading {name} failed: {type(error).__name__}") from error
        log.info("model loaded", extra={"model": name, "seconds": round(loop.time() - started, 3)})
