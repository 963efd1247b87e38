"""Whatever a request may ask for, the sampler gives a token and the arithmetic stays finite: a NaN would leave no order among tokens."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from vllama_agent.apis import options
from vllama_agent.engines.llama_cpp import sampling

VOCABULARY = 4000
SEEN = [5, 9, 9, 17, 9, 5, 100]
HUGE = 1e300
"""For bounds that are open."""


def extremes() -> list[tuple[str, Any]]:
    """(option, value) for both ends of what each option takes."""
    found = []
    for name, option in options.TABLE.items():
        if name in options.SAMPLING:
            found += [(name, bound if math.isfinite(bound) else math.copysign(HUGE, bound)) for bound in (option.low, option.high)]
    return found


@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["usual logits", "huge logits"])
def test_every_pair_of_extremes_gives_a_token(scale: float) -> None:
    """Warnings are errors here, so an overflow in the arithmetic fails too."""
    row = (np.random.default_rng(1).normal(0, 3, VOCABULARY) * scale).astype(np.float32)
    for pair in itertools.combinations(extremes(), 2):
        chosen = options.parse(dict(pair) | {"seed": 1, "logit_bias": {"9": 100, "17": -100}}).sampling
        sampler = sampling.make_sampler(chosen, vocab_size=VOCABULARY, context=64)
        try:
            sampler.observe(SEEN)
            assert 0 <= sampler.sample(row.copy()) < VOCABULARY, pair
        finally:
            sampler.close()
