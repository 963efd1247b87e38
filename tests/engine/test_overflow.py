"""A pool that is far too small for what runs in it: requests are set back, prefixes are evicted, windows shift, in libllama itself.

Every token of every answer is then judged by one request at a time on a bare context that is given the same tokens: its log-probability
is the same within ε, and no token was more than ε likelier.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from vllama_agent.engines.base import EngineStats, GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.testing import until
from vllama_core.config import LoadConfig

EPSILON = 0.05
POOL = 512
"""Cells of the pool, and the context of a request that may use all of it."""
WINDOW, KEEP = 140, 4
"""What the requests of the storm may use of the pool, and what a shift of theirs keeps; gemma3's sliding window is 32."""
PROMPT, SHARED, ANSWER, REQUESTS = 100, 60, 90, 8
"""Eight times 140 cells are more than twice the pool; each answer fills its window and goes on."""


@pytest.fixture
async def engine(model: tuple[str, Path]) -> Any:
    config = LoadConfig(ctx_size=POOL, kv_cells=POOL, parallel=REQUESTS)
    made = LlamaCppEngine(files=(model[1],), config=config, load_timeout=60)
    await made.load()
    yield made
    await made.unload()


async def ask(engine: LlamaCppEngine, prompt: list[int], *, count: int = ANSWER, window: int = WINDOW) -> list[tuple[int, float]]:
    greedy = Sampling(temperature=0.0)
    limits = {"max_tokens": count, "num_ctx": window, "num_keep": KEEP, "shift": True}
    request = GenerateRequest(prompt_tokens=tuple(prompt), sampling=greedy, logprobs=True, **limits)
    made: list[tuple[int, float]] = []
    async with engine.generate(request) as generation:
        async for delta in generation:
            made += [(token, found.logprob) for token, found in zip(delta.token_ids, delta.logprobs or (), strict=True)]
    return made


def prompts(chance: random.Random, vocab_size: int) -> list[list[int]]:
    """Two families that share their beginnings."""

    def some(n: int) -> list[int]:
        return [chance.randrange(10, vocab_size) for _ in range(n)]

    shared = [some(SHARED), some(SHARED)]
    return [shared[index % 2] + some(PROMPT - SHARED) for index in range(REQUESTS)]


def follow_ups(asked: list[list[int]], answers: list[list[tuple[int, float]]]) -> list[list[int]]:
    """Some go on where an answer was before its window was full or where it ended, the others leave a prompt in the middle."""
    chats = [(prompt, [token for token, _ in answer]) for prompt, answer in zip(asked, answers, strict=True)]
    going_on = [prompt + answer[:20] for prompt, answer in chats[:2]]
    ended = [held_at_the_end(prompt, answer) + prompt[:9] for prompt, answer in chats[2:5]]
    leaving = [prompt[: 75 + index] + prompt[:20][::-1] for index, (prompt, _) in enumerate(chats[5:])]
    return ended + going_on + leaving


def held_at_the_end(prompt: list[int], answer: list[int]) -> list[int]:
    """The tokens of a window after its shifts."""
    held = list(prompt)
    for token in answer:
        held.append(token)
        if len(held) >= WINDOW:
            held = held[:KEEP] + held[KEEP + (len(held) - KEEP) // 2 :]
    return held


async def settled(engine: LlamaCppEngine, tokens: int) -> EngineStats:
    """The numbers after so many tokens were generated: snapshots come some time after the answers."""
    await until(lambda: engine.stats().generated_tokens_total == tokens and engine.stats().running == 0)
    return engine.stats()


@pytest.mark.parametrize("model", ["llama", "qwen2", "gemma3", "mamba", "jamba", "lfm2"], indirect=True)
async def test_a_pool_that_overflows_changes_no_answer_and_leaks_no_cell(
    engine: LlamaCppEngine, alone: Any, capsys: pytest.CaptureFixture[str], model: tuple[str, Path]
) -> None:
    chance = random.Random(11)
    asked = prompts(chance, alone.model.vocab_size)
    answers = await asyncio.gather(*(ask(engine, prompt) for prompt in asked))
    again = follow_ups(asked, answers)
    answers += await asyncio.gather(*(ask(engine, prompt) for prompt in again))
    # of those the pool may have kept nothing that fits; an answer that goes on at once is there
    again.append(asked[0])
    answers.append(await ask(engine, again[-1]))
    again.append(held_at_the_end(again[-1], [token for token, _ in answers[-1]]) + asked[0][:9])
    answers.append(await ask(engine, again[-1]))
    stats = await settled(engine, len(answers) * ANSWER)
    assert stats.preemptions_total > 0
    assert stats.context_shifts_total >= len(answers)
    assert stats.evicted_cells_total > 0
    assert stats.prompt_tokens_reused_total > 0
    assert stats.kv_cells_used == stats.kv_cells_cached, "only idle prefixes hold cells when nothing runs"
    worst = 0.0
    for prompt, answer in zip([*asked, *again], answers, strict=True):
        assert len(answer) == ANSWER
        judged = alone.judge(prompt, [token for token, _ in answer], limit=WINDOW, keep=KEEP)
        worst = max(worst, *(max(abs(own - got), behind) for (own, behind), (_, got) in zip(judged, answer, strict=True)))
    with capsys.disabled():
        events = f"{stats.preemptions_total} set back, {stats.context_shifts_total} shifts, {stats.evicted_cells_total} cells evicted"
        print(f"\n  {model[0]}: {events}, largest difference {worst:.5f}, allowed {EPSILON}")
    assert worst <= EPSILON
    # one request that needs every cell: a sequence that libllama still holds and we do not count would leave it without
    whole_pool = [chance.randrange(10, alone.model.vocab_size) for _ in range(POOL - 8)]
    assert len(await ask(engine, whole_pool, count=8, window=POOL)) == 8


async def test_a_pool_that_llama_cpp_rounds_up_is_told_as_large_as_it_is(tiny_llama: Path) -> None:
    """Else more cells than there are would be in use."""
    engine = LlamaCppEngine(files=(tiny_llama,), config=LoadConfig(ctx_size=64, kv_cells=64, parallel=4), load_timeout=60)
    await engine.load()
    for start in range(4):
        await ask(engine, [10 + 50 * start + index for index in range(40)], count=8, window=64)
    stats = await settled(engine, 4 * 8)
    await engine.unload()
    assert stats.kv_cells_cached > 64
    assert stats.kv_cells_used <= stats.kv_cells_total
