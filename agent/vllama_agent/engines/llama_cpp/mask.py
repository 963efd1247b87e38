"""Which tokens a grammar allows next, one bit each, and how to choose among them without touching a whole row of logits. Pure NumPy.

A row of Gemma's vocabulary has 262,144 entries: writing minus infinity to the forbidden ones takes as long as sampling ten tokens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

ROWS = 64
"""The top-k search sees a row of logits as a table of so many rows: the k largest lie in the k columns with the largest maxima."""
WORD = 32
FEW_WORDS = 512
"""Up to so many words with a bit set, all allowed ids are listed; beyond, the likeliest ids are looked at first."""
WIDER = 4
"""How many times k of the likeliest ids are looked at for k allowed ones."""


def top_indices(row: Row, k: int) -> Ids:
    """Ids of the k largest entries, largest first; among equals the lowest id comes first.

    Two passes instead of a partition of the whole row: maxima of columns, then only the columns that can hold one of the k. Columns
    and not blocks, because a maximum over the first axis runs at the speed of memory.
    """
    width = len(row) // ROWS
    if k >= width // 2:
        candidates = np.arange(len(row))
    else:
        table = row[: ROWS * width].reshape(ROWS, width)
        maxima = table.max(axis=0)
        threshold = np.partition(maxima, width - k)[width - k]
        columns = np.flatnonzero(maxima >= threshold)
        rows, picked = np.nonzero(table[:, columns] >= threshold)
        rest = np.flatnonzero(row[ROWS * width :] >= threshold) + ROWS * width
        candidates = np.concatenate([rows * width + columns[picked], rest])
    return candidates[np.argsort(-row[candidates], kind="stable")[:k]]


class Mask:
    """Bits of one row, the lowest first.

    :ivar words: (vocabulary / 32, rounded up) uint32, to be filled by whoever knows the grammar.
    """

    def __init__(self, vocab_size: int) -> None:
        self.words = np.zeros(-(-vocab_size // WORD), np.uint32)
        self._vocab_size = vocab_size

    def allows(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether each of `ids` may come."""
        bits: npt.NDArray[np.bool_] = (self.words[ids // WORD] >> (ids % WORD).astype(np.uint32)) & 1 == 1
        return bits

    def ids(self) -> Ids:
        """All allowed ids, lowest first."""
        bits = np.unpackbits(self.words.astype("<u4", copy=False).view(np.uint8), count=self._vocab_size, bitorder="little")
        return np.flatnonzero(bits.view(np.bool_))

    def top(self, row: Row, k: int) -> Ids:
        """Ids of the k largest allowed entries, as `top_indices` of a row whose other entries are minus infinity; fewer if there are."""
        words = np.flatnonzero(self.words)
        if len(words) > FEW_WORDS:
            likeliest = top_indices(row, min(WIDER * k, len(row)))
            allowed = likeliest[self.allows(likeliest)]
            if len(allowed) >= k:
                return allowed[:k]
            ids = self.ids()
        else:
            ids = self._ids_of(words)
        return ids[top_indices(row[ids], min(k, len(ids)))]

    def _ids_of(self, words: Ids) -> Ids:
        """Those of a few words, whose bits alone are unpacked."""
        bits = np.unpackbits(self.words[words].astype("<u4").view(np.uint8), bitorder="little").reshape(-1, WORD)
        rows, columns = np.nonzero(bits)
        ids = words[rows] * WORD + columns
        return ids[ids < self._vocab_size]
