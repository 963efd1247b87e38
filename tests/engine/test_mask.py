"""Choosing among allowed tokens without touching the row is choosing from a row whose other entries are minus infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.engines.base import Sampling
from vllama_agent.engines.llama_cpp import sampling
from vllama_agent.engines.llama_cpp.mask import Mask, Row, top_indices


def mask_of(allowed: np.ndarray) -> Mask:
    mask = Mask(len(allowed))
    bits = np.zeros(len(mask.words) * 32, np.uint8)
    bits[: len(allowed)] = allowed
    mask.words[:] = np.packbits(bits, bitorder="little").view("<u4")
    return mask


def masked(row: Row, allowed: np.ndarray) -> Row:
    return np.where(allowed, row, -np.inf).astype(np.float32)


def allowed_of(random: np.random.Generator, size: int, share: float) -> np.ndarray:
    allowed = random.random(size) < share
    allowed[int(random.integers(size))] = True
    return allowed


SHARES = st.sampled_from([0.0, 0.0005, 0.02, 0.5, 0.97, 1.0])


@given(st.integers(1, 40_000), st.integers(1, 80), SHARES, st.integers(0, 2**31), st.booleans())
def test_the_top_of_what_is_allowed_is_that_of_a_masked_row(size: int, k: int, share: float, seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    row = (random.integers(0, 5, size) if ties else random.normal(size=size)).astype(np.float32)
    allowed = allowed_of(random, size, share)
    mask = mask_of(allowed)
    expected = top_indices(masked(row, allowed), min(k, int(allowed.sum())))
    assert mask.top(row, k).tolist() == expected.tolist()
    assert mask.ids().tolist() == np.flatnonzero(allowed).tolist()
    assert mask.allows(np.arange(size)).tolist() == allowed.tolist()


OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {},
    {"top_k": 1},
    {"repeat_penalty": 1.3},
    {"logit_bias": ((5, -100.0), (7, 3.0))},
    {"top_k": 0},
    {"mirostat": 2},
]
"""Not typical_p: of a probability of nothing libllama makes an entropy that is no number; only a row without the others is right."""


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_every_sampler_draws_what_it_would_from_a_masked_row(options: dict[str, Any], share: float) -> None:
    random = np.random.default_rng(3)
    one, other = (sampling.make_sampler(Sampling(seed=1, **options), vocab_size=32_000, context=64) for _ in range(2))
    for _ in range(30):
        row = random.normal(0, 3, 32_000).astype(np.float32)
        allowed = allowed_of(random, len(row), share)
        token = one.sample(row.copy(), mask_of(allowed))
        assert allowed[token]
        assert token == other.sample(masked(row, allowed))
    one.close()
    other.close()


@pytest.mark.parametrize("options", [*OPTIONS, {"typical_p": 0.7}, {"mirostat": 1}, {"temperature": 5.0, "top_k": 0}], ids=str)
def test_a_single_allowed_token_is_the_one_that_comes(options: dict[str, Any]) -> None:
    """Whatever its logit, its bias or its penalty."""
    sampler = sampling.make_sampler(Sampling(seed=1, **options), vocab_size=4096, context=64)
    allowed = np.zeros(4096, bool)
    allowed[5] = True
    for _ in range(5):
        assert sampler.sample(np.random.default_rng(1).normal(0, 3, 4096).astype(np.float32), mask_of(allowed)) == 5
    sampler.close()
