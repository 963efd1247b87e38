"""A second holder for every cell of a sliding-window model. Rows never use the ids it takes; see `lib.Context`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vllama_agent.engines.llama_cpp.batch import Int32s
from vllama_agent.engines.llama_cpp.bindings import C


class TwinGuard:
    """Keeps a second holder on every cell of a sliding-window model before its window passes."""

    def __init__(self, memory: Any, sequences: int, *, interval: int) -> None:
        self._memory = memory
        self._sequences = sequences
        self._interval = interval
        self._unguarded = np.zeros(sequences, np.int64)
        """Newest tokens of each sequence that its twin does not hold yet."""

    def computed(self, sequences: Int32s) -> None:
        self._unguarded += np.bincount(sequences, minlength=self._sequences)
        for sequence in np.flatnonzero(self._unguarded >= self._interval).tolist():
            self._catch_up(sequence)

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        self._catch_up(source)
        C.llama_memory_seq_cp(self._memory, source + self._sequences, target + self._sequences, begin, end)

    def remove(self, sequence: int, begin: int, end: int) -> None:
        if begin == 0 and end == -1:
            self._unguarded[sequence] = 0
        else:
            self._catch_up(sequence)
        C.llama_memory_seq_rm(self._memory, sequence + self._sequences, begin, end)

    def _catch_up(self, sequence: int) -> None:
        count = int(self._unguarded[sequence])
        if count:
            length = int(C.llama_memory_seq_pos_max(self._memory, sequence)) + 1
            C.llama_memory_seq_cp(self._memory, sequence, sequence + self._sequences, length - count, length)
            self._unguarded[sequence] = 0
