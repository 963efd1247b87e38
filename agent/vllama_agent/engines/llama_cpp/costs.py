"""How long a step will take, learnt from the steps before, and which rows go well together. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

ATTENTION_TILE = 64
"""Rows that ggml's CPU flash attention computes at once, GGML_FA_TILE_Q: a tile with fewer costs as much.
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-cpu/common.h"""
CHUNKS_PER_THREAD = 4
"""How finely it shares the rows of all heads out among threads; a share ends a tile."""

SMOOTHING = 0.3
"""Weight of the newest step: fast enough to follow a growing context, slow enough to forget one hiccup."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """What a backend's kernels like.

    :ivar mixes: decode and prefill rows may share a call.
    :ivar multiple: rows of a prefill chunk are a multiple of this.
    :ivar narrow: rows of running answers that one call holds without loss; forced tokens beyond them wait for the next call.
    """

    mixes: bool = True
    multiple: int = 1
    narrow: int = 256

    @classmethod
    def of_tiles(cls, *, heads: int, threads: int) -> RowShape:
        """ggml's flash attention on the CPU. From one tile of rows on, every tile reads each cell that *any* of its rows attends to, for
        all of its 64 rows: four decode rows in a chunk of 120 took 80 ms more than a call of their own (Gemma 3 270M, two threads). And
        a chunk of 132 rows takes as long as one of 160.
        """
        shares = CHUNKS_PER_THREAD * threads
        return cls(mixes=False, multiple=ATTENTION_TILE * (shares // math.gcd(shares, heads)), narrow=ATTENTION_TILE - 1)

    def rounded(self, rows: int) -> int:
        """The largest multiple in `rows`. From half of the first one on it is that one: its tiles cost as much when they are not full, and
        a cost per row that was learnt from such chunks would keep them small. Fewer stay as they are."""
        if rows >= self.multiple:
            return rows - rows % self.multiple
        return self.multiple if 2 * rows >= self.multiple else rows


class StepCosts:
    """Decode time by width, and the extra time that each prefill row adds. Only steps that were wanted teach it: to try some before, while
    the model loads, took a third of the load of 1 GB.

    :ivar seconds_per_prefill_row: 0 until a step has told.
    """

    def __init__(self) -> None:
        self.seconds_per_prefill_row = 0.0
        self._decode: dict[int, float] = {}

    def decode_seconds(self, rows: int) -> float:
        """Expected duration of a step with so many decode rows and nothing else; 0 until a step has told, so that a prefill row beside
        decode rows is thought too dear at first, and not too cheap."""
        if rows == 0 or not self._decode:
            return 0.0
        known = self._decode.get(rows)
        if known is not None:
            return known
        nearest = min(self._decode, key=lambda width: abs(width - rows))
        # between one row and many the cost grows with the rows at most as it does in prefill
        return self._decode[nearest] + max(0, rows - nearest) * self.seconds_per_prefill_row

    def prefill_rows(self, *, decode_rows: int, budget: float) -> int:
        """How many prefill rows fit a step of `budget` seconds beside the decode rows; 0 while nothing is known of their cost."""
        if not self.seconds_per_prefill_row:
            return 0
        return int((budget - self.decode_seconds(decode_rows)) / self.seconds_per_prefill_row)

    def observe(self, *, decode_rows: int, prefill_rows: int, seconds: float) -> None:
        """A step took that long."""
        if prefill_rows == 0:
            known = self._decode.get(decode_rows, seconds)
            self._decode[decode_rows] = known + SMOOTHING * (seconds - known)
        elif prefill_rows >= 16:  # fewer rows say more about the fixed cost of a step than about a row
            per_row = max(1e-7, (seconds - self.decode_seconds(decode_rows)) / prefill_rows)
            known = self.seconds_per_prefill_row or per_row
            self.seconds_per_prefill_row = known + SMOOTHING * (per_row - known)
