"""Choosing the next token from a row of logits.

The order is llama.cpp's: logit bias, penalties, what a grammar allows, top_k, typical_p, top_p, min_p, temperature, then one draw.
Greedy, and everything with a top_k up to `FAST_TOP_K`, is done in NumPy on the row itself: no copy of the vocabulary (262k entries for
Gemma) per token. Typical sampling, mirostat and an unlimited top_k go through libllama's sampler chain.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections import Counter, deque
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vllama_agent.engines.base import Sampling
from vllama_agent.engines.llama_cpp.mask import Ids, Mask, Row, top_indices

FAST_TOP_K = 256


class Sampler(Protocol):
    """State of one request's sampling; rows may be written to."""

    def observe(self, tokens: Iterable[int]) -> None:
        """Tokens that stand before the answer."""
        ...

    def sample(self, row: Row, mask: Mask | None = None) -> int:
        """Choose, of what `mask` allows, and remember the choice."""
        ...

    def close(self) -> None:
        """Free what it holds outside Python."""
        ...


class FastSampler:
    """Greedy and top-k sampling on the row."""

    def __init__(self, sampling: Sampling, *, context: int) -> None:
        """
        :param context: tokens that ``repeat_last_n: -1`` looks back on.
        """
        self._sampling = sampling
        self._greedy = sampling.temperature <= 0.0
        self._penalties = Penalties(sampling, context) if Penalties.wanted(sampling) else None
        self._random = random.Random(sampling.seed)
        self._bias = _bias_arrays(sampling)

    def observe(self, tokens: Iterable[int]) -> None:
        if self._penalties:
            for token in tokens:
                self._penalties.add(token)

    def sample(self, row: Row, mask: Mask | None = None) -> int:
        if self._bias:
            row[self._bias[0]] += self._bias[1]
        if self._penalties:
            self._penalties.apply(row)
        token = self._likeliest(row, mask) if self._greedy else self._draw(row, mask)
        if self._penalties:
            self._penalties.add(token)
        return token

    def _likeliest(self, row: Row, mask: Mask | None) -> int:
        return int(row.argmax()) if mask is None else int(mask.top(row, 1)[0])

    def _draw(self, row: Row, mask: Mask | None) -> int:
        ids, probabilities = self.candidates(row, mask)
        point = self._random.random() * float(probabilities.sum())
        index = int(np.searchsorted(np.cumsum(probabilities), point, side="right"))
        return int(ids[min(index, len(ids) - 1)])

    def candidates(self, row: Row, mask: Mask | None = None) -> tuple[Ids, npt.NDArray[np.float64]]:
        """Ids that may be drawn, most likely first, and their weights (not normalised)."""
        s = self._sampling
        k = min(s.top_k, len(row))
        ids = top_indices(row, k) if mask is None else mask.top(row, k)
        logits = row[ids].astype(np.float64)
        logits -= logits[0]
        keep = len(ids)
        if s.top_p < 1.0:
            weights = np.exp(logits)
            total = np.cumsum(weights)
            keep = min(keep, int(np.searchsorted(total, s.top_p * total[-1], side="left")) + 1)
        if s.min_p > 0.0:
            keep = min(keep, max(1, int(np.searchsorted(-logits, -math.log(s.min_p), side="right"))))
        return ids[:keep], np.exp(logits[:keep] / s.temperature)

    def close(self) -> None:
        pass


class Penalties:
    """Repeat, presence and frequency penalties over the last tokens: edits the few touched entries only."""

    def __init__(self, sampling: Sampling, context: int) -> None:
        self._sampling = sampling
        last_n = context if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self._recent: deque[int] = deque(maxlen=last_n)
        self._counts: Counter[int] = Counter()

    @staticmethod
    def wanted(sampling: Sampling) -> bool:
        changes = sampling.repeat_penalty != 1.0 or sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0
        return changes and sampling.repeat_last_n != 0

    def add(self, token: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._recent.append(token)
        self._counts[token] += 1

    def apply(self, row: Row) -> None:
        if not self._counts:
            return
        s = self._sampling
        ids = np.fromiter(self._counts.keys(), np.int64, len(self._counts))
        counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        logits = row[ids]
        # a negative logit is multiplied and a positive one divided, so that both become less likely
        logits = np.where(logits <= 0, logits * s.repeat_penalty, logits / s.repeat_penalty)
        row[ids] = logits - counts * s.frequency_penalty - s.presence_penalty


def _bias_arrays(sampling: Sampling) -> tuple[Ids, Row] | None:
    if not sampling.logit_bias:
        return None
    ids, values = zip(*sampling.logit_bias, strict=True)
    return np.array(ids, np.int64), np.array(values, np.float32)


class ChainSampler:
    """libllama's own chain, for what the fast path does not cover."""

    def __init__(self, sampling: Sampling, *, vocab_size: int, context: int) -> None:
        from vllama_agent.engines.llama_cpp.bindings import C

        self._C = C
        self._bias = _bias_arrays(sampling)
        seed = random.getrandbits(32) if sampling.seed is None else sampling.seed
        self._chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        for link in self._links(sampling, vocab_size, context, seed):
            C.llama_sampler_chain_add(self._chain, link)
        self._entries = np.zeros(vocab_size, [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._ids = np.arange(vocab_size, dtype=np.int32)

    def _links(self, s: Sampling, vocab_size: int, context: int, seed: int) -> list[object]:
        C = self._C
        links = []
        if Penalties.wanted(s):
            last_n = context if s.repeat_last_n < 0 else s.repeat_last_n
            links.append(C.llama_sampler_init_penalties(vocab_size, last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty))
        if s.mirostat:
            links.append(C.llama_sampler_init_temp(s.temperature))
            if s.mirostat == 1:
                links.append(C.llama_sampler_init_mirostat(vocab_size, seed, s.mirostat_tau, s.mirostat_eta, 100))
            else:
                links.append(C.llama_sampler_init_mirostat_v2(seed, s.mirostat_tau, s.mirostat_eta))
            return links
        if s.top_k > 0:
            links.append(C.llama_sampler_init_top_k(s.top_k))
        links += [C.llama_sampler_init_typical(s.typical_p, 1), C.llama_sampler_init_top_p(s.top_p, 1)]
        links += [C.llama_sampler_init_min_p(s.min_p, 1), C.llama_sampler_init_temp(s.temperature), C.llama_sampler_init_dist(seed)]
        return links

    def observe(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            self._C.llama_sampler_accept(self._chain, token)

    def sample(self, row: Row, mask: Mask | None = None) -> int:
        if self._bias:
            row[self._bias[0]] += self._bias[1]
        ids = self._ids if mask is None else mask.ids()
        entries = self._entries[: len(ids)]
        entries["id"], entries["logit"], entries["p"] = ids, row if mask is None else row[ids], 0.0
        data = ctypes.cast(entries.ctypes.data, ctypes.POINTER(self._C.llama_token_data))
        array = self._C.llama_token_data_array(data=data, size=len(entries), selected=-1, sorted=False)
        self._C.llama_sampler_apply(self._chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        self._C.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        self._C.llama_sampler_free(self._chain)


def make_sampler(sampling: Sampling, *, vocab_size: int, context: int) -> Sampler:
    """The cheapest sampler that does what is asked."""
    greedy = sampling.temperature <= 0.0
    limited = 0 < sampling.top_k <= FAST_TOP_K
    if greedy or (limited and sampling.typical_p >= 1.0 and not sampling.mirostat):
        return FastSampler(sampling, context=context)
    return ChainSampler(sampling, vocab_size=vocab_size, context=context)


def log_probabilities(row: Row, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Natural-log probability of `token` and of the `top` likeliest tokens, from the row before any edit."""
    peak = float(row.max())
    log_total = peak + math.log(float(np.exp(row - peak).sum(dtype=np.float64)))
    best = top_indices(row, top).tolist() if top else []
    return float(row[token]) - log_total, [(i, float(row[i]) - log_total) for i in best]
