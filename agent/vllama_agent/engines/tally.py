"""The numbers of a vLLM: of answers what the agent itself sees, of caches what vLLM's metrics told last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vllama_agent.engines.base import Delta, EngineStats
from vllama_agent.engines.rate import Rate


class Counted:
    """One answer in the making."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.begun = False

    def saw(self, delta: Delta) -> None:
        """It got tokens; how many is told by its ids, else at its end."""
        if not self.begun:
            self.begun = True
            self._tally.waiting -= 1
            self._tally.running += 1
        if delta.usage is not None:
            self._tally.ended(delta.usage.generated_tokens, delta.usage.prompt_tokens, delta.usage.cached_tokens)


class Tally:
    """Counts. Totals grow over restarts.

    :ivar running: answers that have got tokens.
    :ivar waiting: answers that have not.
    """

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self._generated = 0
        self._computed = 0
        self._reused = 0
        self._told: dict[str, float] = {}
        self._rate = Rate()

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counted]:
        """Meanwhile one more answer is in the making."""
        counted = Counted(self)
        self.waiting += 1
        try:
            yield counted
        finally:
            if counted.begun:
                self.running -= 1
            else:
                self.waiting -= 1

    @property
    def active(self) -> int:
        """Answers in the making."""
        return self.running + self.waiting

    def ended(self, generated: int, prompt: int, cached: int) -> None:
        """An answer came to its end."""
        self._generated += generated
        self._computed += prompt - cached
        self._reused += cached

    def saw(self, told: dict[str, float]) -> None:
        """vLLM's metrics, by name."""
        self._told = told

    def restarted(self) -> None:
        """Another server begins with empty caches."""
        self._told = {}

    def stats(self, cells: int) -> EngineStats:
        """All of it.

        :param cells: tokens that its cache holds.
        """
        generated = max(self._generated, int(self._told.get("generation_tokens_total", 0)))
        return EngineStats(
            running=self.running,
            waiting=self.waiting,
            kv_cells_used=round(self._told.get("kv_cache_usage_perc", 0.0) * cells),
            kv_cells_total=cells,
            prompt_tokens_computed_total=self._computed,
            prompt_tokens_reused_total=self._reused,
            generated_tokens_total=generated,
            preemptions_total=int(self._told.get("num_preemptions_total", 0)),
            tokens_per_second=self._rate.of(generated),
        )
