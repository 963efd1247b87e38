"""What every route needs, in one value."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from vllama_agent.accounts import Account, Accounts
from vllama_agent.auth import KeyFile
from vllama_agent.cors import Origins
from vllama_agent.drain import Drain, Phase
from vllama_agent.engines.base import EngineStats
from vllama_agent.limits import Admission
from vllama_agent.metrics import Metrics
from vllama_agent.pool import Pool
from vllama_agent.server.first_use import FirstUse
from vllama_agent.server.kept_responses import KeptResponses
from vllama_agent.server.tls import Certificate
from vllama_agent.store.library import Library
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig


def own_version() -> str:
    """The installed distribution's version."""
    try:
        return version("vllama-serve")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The signals that balancers read."""

    inflight: int
    """Requests in the house."""
    queued: int
    """Those of them that wait: for a place in a batch, or for their model."""
    kv_free: int
    """KV cells that a new request could have, idle prefixes counted as free."""
    tokens_per_second: float

    def header(self) -> str:
        """As X-Vllama-Load has it: a dictionary of RFC 9651."""
        return f"inflight={self.inflight}, queued={self.queued}, kv-free={self.kv_free}, tps={self.tokens_per_second:.1f}"


@dataclass(slots=True, kw_only=True)
class Service:
    """The agent's parts."""

    config: AgentConfig
    pool: Pool
    keys: KeyFile | None
    origins: Origins
    admission: Admission
    drain: Drain
    library: Library
    sources: Sources | None
    """Where models are fetched from; None = nowhere."""
    certificate: Certificate | None = None
    """None = plain HTTP."""
    responses: KeptResponses = field(init=False)
    first_use: FirstUse | None = None
    """Fetches the model of a name that is used for the first time; None = that is a 404."""
    accounts: Accounts = field(default_factory=Accounts)
    version: str = field(default_factory=own_version)
    metrics: Metrics = field(init=False)
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self)
        self.responses = KeptResponses(self.config.responses_kept)

    def engine_stats(self) -> Iterator[tuple[str, EngineStats]]:
        """Name and numbers of each loaded model."""
        for resident in self.pool.residents():
            yield resident.artifact.name, resident.engine.stats()

    def memory(self) -> tuple[int, int | None]:
        """Bytes that loaded models take, and may take together; None = no bound."""
        return self.pool.memory_taken(), self.pool.budget.bytes

    def loads(self) -> Mapping[str, int]:
        """How often each model was loaded."""
        return self.pool.loads()

    def key_accounts(self) -> Iterable[Account]:
        """What each name in the file of keys uses."""
        return self.accounts

    def load(self) -> Load:
        """The signals, of all models together."""
        stats = [stats for _, stats in self.engine_stats()]
        return Load(
            inflight=self.admission.inflight,
            queued=sum(s.waiting for s in stats) + sum(resident.users for resident in self.pool.loading()),
            kv_free=sum(s.kv_cells_total - s.kv_cells_used + s.kv_cells_cached for s in stats),
            tokens_per_second=sum(s.tokens_per_second for s in stats),
        )

    @property
    def scheme(self) -> str:
        """Of this server's addresses."""
        return "http" if self.certificate is None else "https"

    def unready(self) -> str | None:
        """Why no request should be sent here; None = it should."""
        if self.drain.phase is not Phase.SERVING:
            return "the server is shutting down"
        return self.pool.unready() or self._misplaced()

    def _misplaced(self) -> str | None:
        """What runs elsewhere than it was to run: it would answer, but many times slower than whoever sends requests here expects."""
        loaded = ((resident.artifact.name, resident.engine.facts) for resident in self.pool.residents())
        return next((f"{name} {facts.misplaced}" for name, facts in loaded if facts is not None and facts.misplaced), None)
