"""A model that has an engine: waiting for memory, loading, loaded, or on its way out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from vllama_agent.engines.base import Engine, EngineState
from vllama_agent.pool.budget import Need, Occupant, Use
from vllama_agent.pool.models import Artifact, Hold
from vllama_agent.pool.needs import Sized
from vllama_agent.pool.settings import Key


@dataclass(eq=False, kw_only=True)
class Resident:
    """A model with its engine."""

    artifact: Artifact
    key: Key
    engine: Engine
    held: Hold
    sized: Sized
    """What it is loaded with, and what was reckoned for that."""
    keep_alive: float
    """Seconds of idleness; infinity = never unloaded."""
    context: int | None = None
    """Tokens, where a request asked for more than the model is loaded with otherwise."""
    polite: bool = False
    """It is loaded only where nobody has to go for it."""
    loading: asyncio.Task[None] = field(init=False, repr=False)
    begun: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when its turn came and there was room, or neither will be."""
    waiting: str = "other models are being loaded before it"
    """Why it has not begun."""
    users: int = 0
    last_used: float = 0.0
    """By the loop's clock: when a request last began or ended."""
    idle_since: float = 0.0
    """By the loop's clock: when its time to rest began."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    gone: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when its engine has stopped."""

    @property
    def loaded(self) -> bool:
        """Whether the first load is over and went well."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None

    @property
    def told(self) -> str:
        """How far its load is, or what it waits for."""
        return (self.engine.progress or "its engine starts") if self.begun.is_set() else self.waiting

    @property
    def answering(self) -> bool:
        """Whether requests still have its engine. One that gave up has told them so."""
        return self.users > 0 and self.engine.state is not EngineState.FAILED

    def stop_timer(self) -> None:
        """It is used again, or leaves for another reason."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def occupant(self, use: Use) -> Occupant:
        """As the budget sees it: what the engine reported counts where it is more than was reckoned."""
        return Occupant(name=self.artifact.name, need=self._taken(), use=use, last_used=self.last_used, whose=self)

    def _taken(self) -> Need:
        need, facts = self.sized.need, self.engine.facts
        if facts is None:
            return need
        host = facts.memory_bytes if self.sized.unified else facts.memory_bytes - facts.vram_bytes
        return Need(bytes=max(need.bytes, host), gpu=max(need.gpu, facts.vram_bytes))
