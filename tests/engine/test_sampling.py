"""The fast sampler against libllama's own chain, and every option against its meaning."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.engines.base import Sampling
from vllama_agent.engines.llama_cpp import mask, sampling

VOCABULARY = 32_000


def logits(seed: int, size: int = VOCABULARY) -> sampling.Row:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def chain_distribution(row: sampling.Row, links: list[Any]) -> dict[int, float]:
    """What libllama's samplers leave over, with probabilities."""
    entries = np.zeros(len(row), [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    entries["id"], entries["logit"] = np.arange(len(row)), row
    data = ctypes.cast(entries.ctypes.data, ctypes.POINTER(C.llama_token_data))
    array = C.llama_token_data_array(data=data, size=len(row), selected=-1, sorted=False)
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    for link in links:
        C.llama_sampler_chain_add(chain, link)
    C.llama_sampler_apply(chain, ctypes.byref(array))
    left = {array.data[i].id: array.data[i].logit for i in range(array.size)}
    C.llama_sampler_free(chain)
    weights = np.exp(np.array(list(left.values())) - max(left.values()))
    return dict(zip(left, (weights / weights.sum()).tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 1},
        {"top_p": 0.5},
        {"min_p": 0.1, "top_p": 1.0},
        {"temperature": 1.7, "top_k": 200},
        {"temperature": 0.1, "min_p": 0.3},
    ],
    ids=str,
)
def test_the_fast_path_draws_from_libllamas_distribution(seed: int, options: dict[str, Any]) -> None:
    s = Sampling(**options)
    row = logits(seed)
    expected = chain_distribution(
        row,
        [
            C.llama_sampler_init_top_k(s.top_k),
            C.llama_sampler_init_top_p(s.top_p, 1),
            C.llama_sampler_init_min_p(s.min_p, 1),
            C.llama_sampler_init_temp(s.temperature),
        ],
    )
    ids, weights = sampling.FastSampler(s, context=64).candidates(row)
    got = dict(zip(ids.tolist(), (weights / weights.sum()).tolist(), strict=True))
    assert got == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "options", [{"repeat_penalty": 1.3}, {"presence_penalty": 0.7}, {"frequency_penalty": 0.4, "repeat_last_n": 3}], ids=str
)
def test_penalties_are_libllamas(options: dict[str, Any]) -> None:
    s = Sampling(top_k=0, **options)
    row, seen = logits(1), [5, 9, 9, 17, 9, 5, 100]
    penalties = sampling.Penalties(s, 64)
    for token in seen:
        penalties.add(token)
    ours = row.copy()
    penalties.apply(ours)
    link = C.llama_sampler_init_penalties(VOCABULARY, s.repeat_last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty)
    for token in seen:
        C.llama_sampler_accept(link, token)
    expected = chain_distribution(row, [link])
    weights = np.exp(ours.astype(np.float64) - float(ours.max()))
    np.testing.assert_allclose([expected[token] for token in set(seen)], (weights / weights.sum())[list(set(seen))], rtol=1e-3)


@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 2**31), st.booleans())
def test_top_indices_are_those_of_a_full_sort(size: int, k: int, seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    row = (random.integers(0, 5, size) if ties else random.normal(size=size)).astype(np.float32)
    expected = np.lexsort((np.arange(size), -row))[:k]
    assert mask.top_indices(row, k).tolist() == expected.tolist()


def make(options: dict[str, Any], size: int = VOCABULARY) -> sampling.Sampler:
    return sampling.make_sampler(Sampling(**options), vocab_size=size, context=64)


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 0}, {"typical_p": 0.5}, {"mirostat": 1}, {"mirostat": 2}, {"repeat_penalty": 1.2}, {"min_p": 0.2, "top_k": 0}],
    ids=str,
)
def test_the_same_seed_draws_the_same_tokens(options: dict[str, Any]) -> None:
    def draw(seed: int) -> list[int]:
        sampler = make({**options, "seed": seed})
        tokens = [sampler.sample(logits(i)) for i in range(20)]
        sampler.close()
        return tokens

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_without_a_seed_two_draws_differ() -> None:
    one, other = make({"temperature": 2.0}), make({"temperature": 2.0})
    assert [one.sample(logits(i)) for i in range(30)] != [other.sample(logits(i)) for i in range(30)]


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.0, "top_k": 0}, {"top_k": 1}], ids=str)
def test_greedy_takes_the_likeliest_and_of_equals_the_first(options: dict[str, Any]) -> None:
    row = logits(2)
    assert make(options).sample(row.copy()) == int(row.argmax())
    row[:] = 1.0
    assert make(options).sample(row) == 0


@pytest.mark.parametrize("options", [{}, {"top_k": 0}, {"temperature": 0.0}], ids=str)
def test_logit_bias_forbids_and_forces(options: dict[str, Any]) -> None:
    row = logits(2)
    best = int(row.argmax())
    assert make({**options, "logit_bias": ((best, -100.0),)}).sample(row.copy()) != best
    assert make({**options, "logit_bias": ((77, 100.0),)}).sample(row.copy()) == 77


def test_draws_follow_the_probabilities() -> None:
    """A thousand draws of three tokens, each within five standard deviations of its share."""
    row = np.full(VOCABULARY, -50.0, np.float32)
    row[[10, 20, 30]] = np.log([0.6, 0.3, 0.1])
    sampler = make({"temperature": 1.0, "top_p": 1.0, "seed": 1})
    counts = Counter(sampler.sample(row) for _ in range(1000))
    for token, share in ((10, 0.6), (20, 0.3), (30, 0.1)):
        assert abs(counts[token] - 1000 * share) <= 5 * (1000 * share * (1 - share)) ** 0.5


def test_log_probabilities_are_a_softmax() -> None:
    row = logits(4)
    own, best = sampling.log_probabilities(row, 123, 5)
    weights = np.exp(row.astype(np.float64) - float(row.max()))
    assert own == pytest.approx(float(np.log(weights[123] / weights.sum())), abs=1e-4)
    assert [token for token, _ in best] == np.argsort(-row, kind="stable")[:5].tolist()
