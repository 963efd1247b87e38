"""Batching and prefix reuse change no answer: the worker against one request at a time on a bare context.

Kernels sum in another order for another batch width, so equal text is not promised. The promise: while the tokens are the same, their
log-probabilities differ by at most ε; where the tokens part, the two candidates were at most ε apart.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from vllama_agent.engines.base import GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_core.config import LoadConfig

EPSILON = 0.05
"""Largest |Δ log-probability| allowed."""
WHOLE_ONLY = ("mamba", "jamba", "lfm2")
"""Recurrent and hybrid: of a computed prompt all is reused or nothing."""
ANSWER = 12
CONFIG = LoadConfig(ctx_size=1024, kv_cells=4096, parallel=16)
GREEDY = Sampling(temperature=0.0)
Answer = list[tuple[int, float, float]]
"""(token, its log-probability, how far ahead of the second it is), as the fixture `alone` answers."""


async def ask(engine: LlamaCppEngine, prompt: list[int], count: int = ANSWER) -> tuple[Answer, int]:
    request = GenerateRequest(prompt_tokens=tuple(prompt), sampling=GREEDY, max_tokens=count, logprobs=True, top_logprobs=2)
    made: Answer = []
    cached = 0
    async with engine.generate(request) as generation:
        async for delta in generation:
            for token, logprob in zip(delta.token_ids, delta.logprobs or (), strict=True):
                made.append((token, logprob.logprob, logprob.logprob - logprob.top[1].logprob))
            if delta.usage:
                cached = delta.usage.cached_tokens
    return made, cached


def difference(got: Answer, want: Answer) -> float:
    """Largest |Δ log-probability| while the tokens agree.

    :raises AssertionError: they part although the reference was sure of its token.
    """
    worst = 0.0
    for (token, logprob, _), (expected, reference, margin) in zip(got, want, strict=False):
        if token != expected:
            assert margin <= EPSILON, f"token {token} instead of {expected}, which was {margin:.4f} ahead"
            break
        worst = max(worst, abs(logprob - reference))
    assert worst <= EPSILON
    return worst


def prompts(vocab_size: int, text_like: list[int] | None) -> list[list[int]]:
    """Six prompts that share a beginning; longer than any window of the test models."""
    chance = random.Random(3)

    def some(n: int) -> list[int]:
        return [chance.randrange(10, vocab_size) for _ in range(n)] if text_like is None else chance.sample(text_like, n)

    shared = some(90)
    return [shared[: 90 - 7 * i] + some(20 + 13 * i) for i in range(6)]


async def test_batched_and_reused_answers_are_those_of_one_at_a_time(
    model: tuple[str, Path], alone: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name, file = model
    words = alone.model.tokenize(Path(__file__).read_bytes(), add_special=False, parse_special=False) if name == "demo" else None
    asked = prompts(alone.model.vocab_size, words)
    expected = [alone.answer(prompt, ANSWER) for prompt in asked]
    engine = LlamaCppEngine(files=(file,), config=CONFIG, load_timeout=60)
    await engine.load()
    try:
        together = await asyncio.gather(*(ask(engine, prompt) for prompt in asked))
        again = await asyncio.gather(*(ask(engine, prompt) for prompt in asked))
        follow_up = [*asked[0], *(token for token, _, _ in together[0][0]), *asked[1][:9]]
        continued = await ask(engine, follow_up)
    finally:
        await engine.unload()
    worst = max(difference(got, want) for (got, _), want in zip([*together, *again], [*expected, *expected], strict=True))
    worst = max(worst, difference(continued[0], alone.answer(follow_up, ANSWER)))
    with capsys.disabled():
        print(f"\n  {name}: largest |Δ logprob| {worst:.5f}, allowed {EPSILON}")
    assert continued[1] >= len(asked[0])
    if name not in WHOLE_ONLY:
        assert all(cached == len(prompt) - 1 for (_, cached), prompt in zip(again, asked, strict=True))


async def test_a_shorter_prefix_of_a_long_prompt_is_reused_rightly(model: tuple[str, Path], alone: Any) -> None:
    """The order of events in which a full-sized sliding-window cache would hand out cells that are still to be shared."""
    name, file = model
    if name in WHOLE_ONLY:
        pytest.skip("a recurrent state is never cut, so no shorter prefix is reused")
    chance = random.Random(5)
    words = alone.model.tokenize(Path(lib.__file__).read_bytes(), add_special=False, parse_special=False)

    def some(n: int) -> list[int]:
        return (
            [chance.choice(words) for _ in range(n)] if name == "demo" else [chance.randrange(10, alone.model.vocab_size) for _ in range(n)]
        )

    first, long, filler, own = some(150), some(1800), some(1500), some(20)
    config = LoadConfig(ctx_size=2000, kv_cells=4096, parallel=16)
    engine = LlamaCppEngine(files=(file,), config=config, load_timeout=60)
    await engine.load()
    try:
        _, _ = await ask(engine, first, 1)
        _, _ = await ask(engine, long, 1)
        _, _ = await ask(engine, filler, 1)
        _, _ = await ask(engine, some(900), 1)  # the pool is full: the oldest goes, its low cells are handed out again
        got, cached = await ask(engine, [*long[:700], *own])
    finally:
        await engine.unload()
    assert cached >= 600
    difference(got, alone.answer([*long[:700], *own], ANSWER))
