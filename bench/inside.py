"""Measurements below HTTP: our engine at the worker's socket, and our agent over a stand-in worker. Each prints one JSON object.

python -m bench.inside rate-greedy 1     # one stream where the worker's frames are read; the number is the round
python -m bench.inside rate-default 1
python -m bench.inside cancel 1          # how long until a cancelled request is gone
python -m bench.inside agent-cpu 1       # see `bench.standin`
python -m bench.inside structured 1      # see `bench.structured`
python -m bench.inside codecs 1          # see `bench.codecs`
python -m bench.inside cold-start 1      # and load-big-warm and so on: see `bench.cold`
python -m bench.inside operator-idle 1   # and operator-apply and so on: see `bench.llmserves`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import uvloop

from bench import codecs, cold, llmserves, places, served, standin, stats, structured, vllm, vllm_proxy
from bench.client import NEVER
from bench.prompts import Prompt, Vocabulary, make
from bench.workloads import ANSWER, PROMPT
from vllama_agent.engines import process
from vllama_agent.engines.base import GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp import engine as engine_module
from vllama_agent.engines.llama_cpp import spares
from vllama_core.config import LoadConfig

TRIALS = 8
Engine = engine_module.LlamaCppEngine


class EagerChild(process.Child):
    """Starts `eager_worker` as the worker, and everything else as it is."""

    @classmethod
    async def start(cls, link: asyncio.Protocol, *command: str, **options: Any) -> process.Child:
        if command[-1].endswith(".worker"):
            return await super().start(link, command[0], str(places.ROOT / "bench" / "eager_worker.py"), **options)
        return await super().start(link, *command, **options)


@contextlib.asynccontextmanager
async def loaded(config: LoadConfig) -> AsyncIterator[Engine]:
    process.yield_to_children()  # as `vllama serve` does
    engine = Engine(files=(places.gguf(),), config=config, load_timeout=300)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.unload()


def request_of(prompt: Prompt, tokens: int, *, temperature: float = 0.8, never_end: list[int]) -> GenerateRequest:
    bias = tuple((token, NEVER) for token in never_end)
    return GenerateRequest(prompt_tokens=prompt.ids, max_tokens=tokens, sampling=Sampling(temperature=temperature, seed=1, logit_bias=bias))


async def rate(number: int, *, temperature: float) -> dict[str, float]:
    """As `workloads.one_stream`, without HTTP: same prompts, same seed."""
    vocabulary = Vocabulary(places.gguf())
    ends = vocabulary.end_tokens()
    prompts = [make(vocabulary, PROMPT, seed=10_000 * number + 300 + index) for index in range(3)]
    async with loaded(served.DEFAULTS) as engine:
        await _drain(engine, request_of(make(vocabulary, PROMPT, seed=-1), 8, never_end=ends))
        found = [await _drain(engine, request_of(prompt, ANSWER, temperature=temperature, never_end=ends)) for prompt in prompts]
    return {"rate": statistics.median(found)}


async def _drain(engine: Engine, request: GenerateRequest) -> float:
    async with engine.generate(request) as generation:
        times = [(time.perf_counter(), len(delta.token_ids)) async for delta in generation]
    tokens = sum(count for _, count in times[1:])
    return tokens / (times[-1][0] - times[0][0]) if len(times) > 1 else 0.0


class Witness:
    """A stream that runs all the while: its gaps are the steps."""

    def __init__(self, engine: Engine, request: GenerateRequest) -> None:
        self.times: list[float] = []
        self._task = asyncio.create_task(self._run(engine, request), name="witness")

    async def _run(self, engine: Engine, request: GenerateRequest) -> None:
        async with engine.generate(request) as generation:
            async for _ in generation:
                self.times.append(time.perf_counter())

    async def saw(self, tokens: int) -> None:
        while len(self.times) < tokens:  # noqa: ASYNC110 (what else is awaited here has no such event)
            await asyncio.sleep(0.002)

    def step_at(self, moment: float) -> float:
        """Seconds of the step that was running then."""
        before = max((t for t in self.times if t <= moment), default=moment)
        after = min((t for t in self.times if t > moment), default=moment)
        return after - before

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def cancel(number: int) -> dict[str, float]:
    """Time from leaving a generation to its sequence being gone, against the step that was running."""
    spares.Child = EagerChild  # type: ignore[misc]
    vocabulary = Vocabulary(places.gguf())
    ends = vocabulary.end_tokens()
    short = request_of(make(vocabulary, PROMPT, seed=number), 4000, never_end=ends)
    found: dict[str, float] = {}
    async with loaded(served.DEFAULTS) as engine:
        found |= await _case(engine, short, "decode", lambda _trial: short, when=lambda e: e.stats().running >= 2)
        found |= await _case(
            engine,
            short,
            "prefill",
            lambda trial: request_of(make(vocabulary, 7500, seed=100 * number + trial), 16, never_end=ends),
            when=lambda e: e.stats().running + e.stats().waiting >= 2,
        )
    async with loaded(replace(served.DEFAULTS, parallel=1)) as engine:
        found |= await _case(engine, short, "queued", lambda _trial: short, when=lambda e: e.stats().waiting >= 1)
    return found


async def _case(
    engine: Engine, short: GenerateRequest, name: str, victim: Callable[[int], GenerateRequest], *, when: Callable[[Engine], bool]
) -> dict[str, float]:
    latencies, excesses, steps = [], [], []
    for trial in range(TRIALS):
        witness = Witness(engine, short)
        await witness.saw(4)
        left = asyncio.Event()
        task = asyncio.create_task(_victim(engine, victim(trial), left), name="victim")
        await _until(lambda: when(engine))
        await asyncio.sleep(0.15 + 0.023 * trial)  # another part of a step each time
        task.cancel()
        moment = time.perf_counter()
        await _until(lambda: engine.stats().running + engine.stats().waiting <= 1)
        latency = time.perf_counter() - moment
        await witness.saw(len(witness.times) + 1)
        step = witness.step_at(moment)
        latencies.append(latency)
        excesses.append(latency - step)
        steps.append(latency / step if step else 0.0)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await witness.stop()
        await _until(lambda: engine.stats().running + engine.stats().waiting == 0)
    return {
        f"{name}_ms": 1000 * stats.percentile(latencies, 50),
        f"{name}_excess_ms": 1000 * max(excesses),
        f"{name}_steps": max(steps),
    }


async def _victim(engine: Engine, request: GenerateRequest, left: asyncio.Event) -> None:
    async with engine.generate(request) as generation:
        async for _ in generation:
            left.set()


async def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the counts change in frames, nobody signals them)
            await asyncio.sleep(0.001)


async def held_to_a_schema(number: int) -> dict[str, float]:
    """See `structured`."""
    async with loaded(served.DEFAULTS) as engine:
        return await structured.measure(engine, Vocabulary(places.gguf()), number)


async def _cold(what: str, which: str, cache: str, number: int) -> dict[str, float]:
    return await asyncio.to_thread(cold.measure, what, which, cache, number)


async def _operator(number: int, *, crowd: int) -> dict[str, float]:
    return await asyncio.to_thread(llmserves.apply, number, crowd=crowd)


async def _idle_operator(number: int) -> dict[str, float]:
    return await asyncio.to_thread(llmserves.idle, number)


MODES: dict[str, Callable[[int], Awaitable[dict[str, float]]]] = {
    "rate-greedy": lambda number: rate(number, temperature=0.0),
    "rate-default": lambda number: rate(number, temperature=0.8),
    "cancel": cancel,
    "agent-cpu": standin.agent_cpu,
    "vllm-proxy": vllm_proxy.proxy,
    "vllm-soak": vllm_proxy.soak,
    "vllm": vllm.over_bare,
    "vllm-intervals": vllm.intervals,
    "structured": held_to_a_schema,
    "codecs": lambda number: asyncio.to_thread(codecs.measure, number),
    "cold-start": lambda number: _cold("start", "demo", "warm", number),
    "cold-start-big": lambda number: _cold("start", "big", "dropped", number),
    "load-big-warm": lambda number: _cold("load", "big", "warm", number),
    "load-big-dropped": lambda number: _cold("load", "big", "dropped", number),
    "operator-apply": lambda number: _operator(number, crowd=1),
    "operator-crowd": lambda number: _operator(number, crowd=llmserves.CROWD),
    "operator-idle": _idle_operator,
}


async def main(mode: str, number: int) -> None:
    print(json.dumps(await MODES[mode](number)))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
