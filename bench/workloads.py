"""What is asked of a running contestant. Each workload returns plain numbers; which of them matter is the row's business.

Rates are tokens per second, times are seconds unless a name says otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass

from bench import stats
from bench.client import DEFAULT, GREEDY, Answer, Client, Sampler
from bench.metrics import Scrape, scrape
from bench.prompts import Prompt, Vocabulary, make, shared_prefix
from bench.servers import Running

ANSWER = 256
PROMPT = 32
STEADY_TOKENS = 48
"""Tokens that each stream has brought before a disturbance, so that the undisturbed pace is known."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every workload may use. Prompts depend on the round alone: all contestants of a round get the same."""

    vocabulary: Vocabulary
    round: int

    def prompts(self, count: int, tokens: int) -> list[Prompt]:
        return [make(self.vocabulary, tokens, seed=10_000 * self.round + 100 * count + index) for index in range(count)]


async def one_stream(server: Running, bench: Bench, sampler: Sampler) -> dict[str, float]:
    """Three answers one after the other."""
    answers = [await server.client.answer(prompt, ANSWER, sampler) for prompt in bench.prompts(3, PROMPT)]
    return {
        "rate": statistics.median(answer.rate for answer in answers),
        "ttft": statistics.median(answer.ttft for answer in answers),
        "tokens": sum(answer.generated for answer in answers),
    }


async def one_greedy(server: Running, bench: Bench) -> dict[str, float]:
    return await one_stream(server, bench, GREEDY)


async def one_default(server: Running, bench: Bench) -> dict[str, float]:
    return await one_stream(server, bench, DEFAULT)


async def streams(server: Running, bench: Bench, count: int) -> dict[str, float]:
    """`count` answers at once: all tokens over all the time in which any was decoded, and the rate while all were."""
    answers = await server.client.answers(bench.prompts(count, PROMPT), ANSWER, DEFAULT)
    found = together(answers)
    steady = stats.window_rate([answer.arrivals for answer in answers])
    return found | ({"steady": steady} if steady is not None else {})


async def four_streams(server: Running, bench: Bench) -> dict[str, float]:
    return await streams(server, bench, 4)


async def sixteen_streams(server: Running, bench: Bench) -> dict[str, float]:
    return await streams(server, bench, 16)


def together(answers: list[Answer]) -> dict[str, float]:
    """Figures of answers that were asked for at the same time."""
    tokens = sum(answer.generated for answer in answers)
    start = min(answer.first for answer in answers)
    end = max(answer.done for answer in answers)
    ttfts = [answer.ttft for answer in answers]
    return {
        "rate": (tokens - 1) / (end - start),
        "wall": end - min(answer.sent for answer in answers),
        "ttft_p50": stats.percentile(ttfts, 50),
        "ttft_max": max(ttfts),
        "tokens": tokens,
    }


async def shared(server: Running, bench: Bench) -> dict[str, float]:
    """Sixteen requests at once that share 2,000 tokens and own 64 each, on a server that has never seen them."""
    asked = shared_prefix(bench.vocabulary, shared=2000, own=64, count=16, seed=10_000 * bench.round + 2000)
    before = await _ours(server)
    found = together(await server.client.answers(asked, 32, DEFAULT))
    if before is not None:
        after = await scrape(server.client)
        computed = after.value("vllama_prompt_tokens_computed_total") - before.value("vllama_prompt_tokens_computed_total")
        unique = 2000 + 16 * 64
        found |= {"computed": computed, "computed_over_unique": computed / unique}
    return found


async def _ours(server: Running) -> Scrape | None:
    return await scrape(server.client) if server.contestant.kind == "ours" else None


async def different(server: Running, bench: Bench, tokens: int) -> dict[str, float]:
    """Sixteen unrelated prompts of 1,000 tokens at once."""
    answers = await server.client.answers(bench.prompts(16, 1000), tokens, DEFAULT)
    last_first = max(answer.first for answer in answers)
    return together(answers) | {"all_prefilled": last_first - min(answer.sent for answer in answers)}


async def different_short(server: Running, bench: Bench) -> dict[str, float]:
    return await different(server, bench, 32)


async def different_long(server: Running, bench: Bench) -> dict[str, float]:
    return await different(server, bench, 400)


async def long_prompt(server: Running, bench: Bench) -> dict[str, float]:
    """A 7,500-token prompt arrives while eight streams decode: the worst gap that it tears into them, and its own first token."""
    growing = [Growing() for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_endless(server.client, prompt, stream))
            for prompt, stream in zip(bench.prompts(8, PROMPT), growing, strict=True)
        ]
        await asyncio.gather(*(stream.reached(STEADY_TOKENS) for stream in growing))
        asked = make(bench.vocabulary, 7500, seed=10_000 * bench.round + 7500)
        arrived = time.perf_counter()
        answer = await server.client.answer(asked, 16, DEFAULT)
        first = answer.first
        for task in tasks:
            task.cancel()
    steady = [gap for stream in growing for gap in stream.gaps(0.0, arrived)]
    worst = max(stream.worst_gap(arrived, first) for stream in growing)
    middle = stats.percentile(steady, 50)
    return {
        "worst_gap_ms": 1000 * worst,
        "steady_gap_ms": 1000 * middle,
        "gap_over_limit": worst / max(3 * middle, 0.4),
        "ttft": first - arrived,
    }


class Growing:
    """A stream that somebody else is waiting on."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self._changed = asyncio.Event()

    def saw(self, answer: Answer) -> None:
        self.answer = answer
        self._changed.set()

    async def reached(self, tokens: int) -> None:
        while self.answer is None or len(self.answer.arrivals) < tokens:
            self._changed.clear()
            await self._changed.wait()

    def gaps(self, begin: float, end: float) -> list[float]:
        """Between pieces that both came in [begin, end)."""
        times = [moment for moment, _ in self.answer.arrivals if begin <= moment < end] if self.answer else []
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def worst_gap(self, begin: float, end: float) -> float:
        """The longest silence in [begin, end]; one that has not ended by then counts as long as it lasted."""
        times = [moment for moment, _ in self.answer.arrivals if begin <= moment <= end] if self.answer else []
        points = [begin, *times, end]
        return max(later - earlier for earlier, later in itertools.pairwise(points))


async def _endless(client: Client, prompt: Prompt, stream: Growing) -> None:
    await client.answer(prompt, 1500, DEFAULT, on_piece=stream.saw)


async def scheduler(server: Running, bench: Bench) -> dict[str, float]:
    """Thirty-two streams: what a step costs beside decoding and sampling, while all of them run."""
    growing = [Growing() for _ in range(32)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_endless(server.client, prompt, stream))
            for prompt, stream in zip(bench.prompts(32, PROMPT), growing, strict=True)
        ]
        await asyncio.gather(*(stream.reached(8) for stream in growing))
        before = await scrape(server.client)
        await asyncio.gather(*(stream.reached(8 + ANSWER // 2) for stream in growing))
        after = await scrape(server.client)
        for task in tasks:
            task.cancel()
    steps = after.value("vllama_steps_total") - before.value("vllama_steps_total")
    parts = {
        part: after.value("vllama_step_seconds_total", part=part) - before.value("vllama_step_seconds_total", part=part)
        for part in ("schedule", "decode", "sample", "emit")
    }
    own = parts["schedule"] + parts["emit"]
    per_step = {f"{part}_us": 1e6 * seconds / steps for part, seconds in parts.items()}
    return per_step | {"own_us": 1e6 * own / steps, "own_percent": 100 * own / sum(parts.values()), "steps": steps}
