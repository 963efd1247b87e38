"""A pool over fake engines that are kept for looking at."""

from __future__ import annotations

from vllama_agent.pool import Budget, Pool, Surroundings, needs
from vllama_agent.pool.readiness import REVIVAL
from vllama_agent.testing import SHAPE, FakeEngine, FakeStore
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.sizing import budget as sizing

PLENTY = 1 << 50
"""Bytes that are always enough."""
ONE = needs.sized(SHAPE, LoadConfig(), sizing.Budget(host=PLENTY)).need.bytes
"""Bytes that a fake model is reckoned to take."""


class Bench:
    """See the module.

    :param room: how many models fit; None = any number.
    :ivar engines: in the order in which they were made.
    :ivar made: the names and settings that they were made for.
    """

    def __init__(self, *names, make=FakeEngine, revival=REVIVAL, room=None, find=None, **settings):
        self.engines = []
        self.made = []
        self.make = make
        budget = Budget(bytes=None if room is None else int(room * ONE))
        store = FakeStore(*(names or ("m:latest",)))
        self.pool = Pool(
            store,
            self._engine,
            AgentConfig(**settings),
            revival=revival,
            budget=budget,
            surroundings=Surroundings(free=lambda: PLENTY),
            find=find,
        )

    def _engine(self, artifact, settings):
        self.engines.append(self.make())
        self.made.append((artifact.name, settings))
        return self.engines[-1]

    def use(self, name="m", keep_alive=None, *, num_ctx=None):
        return self.pool.use(self.pool.find(name), keep_alive, num_ctx=num_ctx)

    async def load(self, *names):
        """Use each once."""
        for name in names:
            async with self.use(name):
                pass

    def names(self):
        """The models that get requests, sorted."""
        return sorted(resident.artifact.name.removesuffix(":latest") for resident in self.pool.residents())

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.pool.close()
