"""The cache of recurrent and hybrid models, whose state can be continued but neither cut nor shared in part. Pure over `kv.Memory`.

A finished sequence stays idle under its own id. A prompt that starts with *all* of its tokens takes it over and goes on; nothing else
is reused, because a state at one position says nothing about an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vllama_agent.engines.llama_cpp.kv import Memory
from vllama_agent.engines.llama_cpp.radix import Tokens


@dataclass(frozen=True, slots=True)
class _Idle:
    tokens: Tokens
    last_use: float


class WholeCache:
    """See the module and `prefix_cache.Cache`."""

    shares_running = False

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._free_ids = list(range(memory.running - 1, -1, -1))
        self._running: dict[int, int] = {}
        """Cells of each running sequence."""
        self._idle: dict[int, _Idle] = {}
        self.evicted_total = 0

    @property
    def used(self) -> int:
        return sum(self._running.values()) + self.idle

    @property
    def free(self) -> int:
        return self._memory.cells - self.used

    @property
    def idle(self) -> int:
        return sum(len(idle.tokens) for idle in self._idle.values())

    @property
    def has_sequence(self) -> bool:
        return bool(self._free_ids or self._idle)

    def match(self, tokens: Tokens) -> int:
        return self._best(tokens)[1]

    def idle_beside(self, tokens: Tokens) -> int:
        return self.idle - self._best(tokens)[1]

    def acquire(self, tokens: Tokens, now: float) -> tuple[int, int]:
        sequence, length = self._best(tokens)
        if sequence is not None:
            del self._idle[sequence]
        else:
            if not self._free_ids:
                self._evict_oldest()
            sequence = self._free_ids.pop()
        self._running[sequence] = length
        return sequence, length

    def computed_prompt(self, sequence: int, tokens: Tokens, now: float) -> None:
        self._running[sequence] = len(tokens)

    def decoded(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self._running[sequence] += 1

    def truncate(self, sequence: int, length: int) -> int:
        self._memory.remove(sequence, 0, -1)
        self._running[sequence] = 0
        return 0

    def release(self, sequence: int, tokens: Tokens, now: float) -> None:
        del self._running[sequence]
        self._idle[sequence] = _Idle(tokens, now)

    def drop(self, sequence: int) -> None:
        del self._running[sequence]
        self._memory.remove(sequence, 0, -1)
        self._free_ids.append(sequence)

    def evict(self, cells: int) -> int:
        freed = 0
        while freed < cells and self._idle:
            freed += self._evict_oldest()
        return freed

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert self.used <= self._memory.cells
        ids = [*self._free_ids, *self._running, *self._idle]
        assert sorted(ids) == list(range(self._memory.running)), "a sequence id leaked"

    def _best(self, tokens: Tokens) -> tuple[int | None, int]:
        best, length = None, 0
        for sequence, idle in self._idle.items():
            n = len(idle.tokens)
            if length < n < len(tokens) and np.array_equal(idle.tokens, tokens[:n]):
                best, length = sequence, n
        return best, length

    def _evict_oldest(self) -> int:
        sequence = min(self._idle, key=lambda s: self._idle[s].last_use)
        cells = len(self._idle.pop(sequence).tokens)
        self._memory.remove(sequence, 0, -1)
        self._free_ids.append(sequence)
        self.evicted_total += cells
        return cells
