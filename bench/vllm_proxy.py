"""The agent between its clients and a vLLM, alone: over a stand-in that computes nothing, and floods it with tokens.

The stand-in is also read without the agent, by the same client: what that finds of unevenness is the machine's, its own and the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench import places, servers
from bench.memory import MB, anonymous_bytes
from bench.vllm import CONTEXT, Served, agent, served, vllm_cpu

STANDIN = places.ROOT / "bench" / "standin_vllm.py"
RATE_VARIABLE = "VLLAMA_BENCH_STANDIN_RATE"
FLOOD_STREAMS, FLOOD_RATE = 256, 20_000.0
CALM_STREAMS, CALM_RATE = 64, 1_000.0
SECONDS = 8.0
WATCHED = 16
"""Every so many streams one has its reads noted, which is dearer."""
LONGEST = CONTEXT - 148
"""Tokens of an answer that fits beside its prompt, a byte of which is a token of the stand-in's."""
SOAK_SECONDS, WARM_SECONDS = 600.0, 60.0
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What was seen of it.

    :ivar cpu_us: microseconds of the server's CPU per token.
    :ivar rate: tokens per second.
    :ivar begun: when the last of all answers had its first bytes, by the performance counter.
    :ivar reads: of some streams, when each read was.
    """

    cpu_us: float
    rate: float
    begun: float
    reads: list[list[float]]

    def gap_ratio(self) -> float:
        """The longest gap of a stream in its own median ones, of the worst stream, while all run."""
        later = [of for of in self.reads if of[-1] > self.begun]  # the first one is alone at first, and may have ended by then
        return _gap_ratio(later, self.begun, min(of[-1] for of in later))

    def gap_ratio_with_ends(self) -> float:
        """The same with the beginning and the end, when there are hundreds of requests at once, too."""
        return _gap_ratio(self.reads, 0.0, math.inf)


def _gap_ratio(reads: list[list[float]], begin: float, end: float) -> float:
    gaps = [[after - before for before, after in itertools.pairwise(of) if begin <= before and after <= end] for of in reads]
    return max(max(of) / statistics.median(of) for of in gaps)


async def proxy(number: int) -> dict[str, float]:
    """CPU per token and gaps, ours and the stand-in's own. The order turns with the round."""
    async with _ours(CALM_RATE) as server:
        calm = await _flooded(server, CALM_STREAMS, CALM_RATE)
    found = {}
    for kind, opened in ((_ours, "ours"), (_alone, "alone"))[:: 1 if number % 2 else -1]:
        async with kind(FLOOD_RATE) as server:
            found[opened] = await _flooded(server, FLOOD_STREAMS, FLOOD_RATE)
    ours, alone = found["ours"], found["alone"]
    return {
        "calm_us": calm.cpu_us,
        "calm_rate": calm.rate,
        "flood_us": ours.cpu_us,
        "flood_rate": ours.rate,
        "gap_ratio": ours.gap_ratio(),
        "gap_ratio_with_ends": ours.gap_ratio_with_ends(),
        "alone_rate": alone.rate,
        "alone_gap_ratio": alone.gap_ratio(),
        "alone_gap_ratio_with_ends": alone.gap_ratio_with_ends(),
    }


async def soak(_number: int, seconds: float = SOAK_SECONDS, warm: float = WARM_SECONDS) -> dict[str, float]:
    """Ten minutes of the flood, answer after answer; how the agent's memory grows once it is warm."""
    readings: list[float] = []
    async with _ours(FLOOD_RATE) as server:
        end = time.monotonic() + seconds

        async def stream() -> None:
            while time.monotonic() < end:
                await server.stream(LONGEST)

        async def look() -> None:
            await asyncio.sleep(warm)
            while time.monotonic() < end:
                readings.append(anonymous_bytes(server.process) / MB)
                await asyncio.sleep(LOOK_SECONDS)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(look(), name="look at the agent's memory")
            for number in range(FLOOD_STREAMS):
                tasks.create_task(stream(), name=f"stream {number}")
    few = max(1, len(readings) // 10)
    return {
        "soak_mb": statistics.fmean(readings[-few:]),
        "soak_growth_mb": statistics.fmean(readings[-few:]) - statistics.fmean(readings[:few]),
        "soak_worst_mb": max(readings) - min(readings),
    }


@contextlib.asynccontextmanager
async def _ours(rate: float) -> AsyncIterator[Served]:
    port = servers.free_port()
    with tempfile.TemporaryDirectory() as home:
        command, environment = agent(Path(home), vllm_cpu.tiny_model(), STANDIN, port)
        async with served(command, environment | {RATE_VARIABLE: str(rate)}, url=f"http://127.0.0.1:{port}", model=None) as server:
            yield server


@contextlib.asynccontextmanager
async def _alone(rate: float) -> AsyncIterator[Served]:
    """The stand-in, read over the socket by which the agent would."""
    key = secrets.token_urlsafe()
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/s"
        command = [sys.executable, str(STANDIN), "--uds", socket, "--max-model-len", str(CONTEXT)]
        environment, headers = {RATE_VARIABLE: str(rate), "VLLM_API_KEY": key}, {"Authorization": f"Bearer {key}"}
        connector = aiohttp.UnixConnector(socket, limit=0)
        async with served(command, environment, url="http://vllm", model="model", connector=connector, headers=headers) as server:
            yield server


async def _flooded(server: Served, streams: int, rate: float) -> Flood:
    """So many answers at once, for some seconds."""
    await server.stream(8)
    tokens = min(int(rate * SECONDS / streams), LONGEST)
    reads: list[list[float]] = [[] for _ in range(0, streams, WATCHED)]
    gc.collect()
    gc.freeze()  # else this client's own collections, of all that a benchmark imports, are gaps of the server's
    cpu, began = server.cpu(), time.perf_counter()
    watched = [None if number % WATCHED else reads[number // WATCHED] for number in range(streams)]
    made = await asyncio.gather(*(server.stream(tokens, into) for into in watched))
    count, begun = sum(tokens for tokens, _first in made), began + max(first for _tokens, first in made)
    return Flood(cpu_us=1e6 * (server.cpu() - cpu) / count, rate=count / (time.perf_counter() - began), begun=begun, reads=reads)
