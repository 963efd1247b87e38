"""Anonymous memory of our agent and worker, after 32 streams and over 10,000 short requests."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil

from bench import places, stats
from bench.client import DEFAULT
from bench.servers import Running
from bench.workloads import ANSWER, PROMPT, Bench

REQUESTS = 10_000
AT_ONCE = 32
POINTS = 40
"""Readings over the short requests; the second half of them gives the slope, the first fills caches."""
MB = 1e6


def anonymous_bytes(process: psutil.Process) -> int:
    """RssAnon: what is the process' own, without mapped files such as the weights. Elsewhere than on Linux: all that is resident."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return int(process.memory_info().rss)
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def agent_and_worker(server: Running) -> tuple[psutil.Process, psutil.Process]:
    """The process that was started, and the one below it that runs the worker's module (not its keeper)."""
    agent, *children = server.processes()
    workers = [child for child in children if child.cmdline()[1:3] == ["-m", "vllama_agent.engines.llama_cpp.worker"]]
    return agent, max(workers, key=lambda worker: worker.memory_info().rss)  # another one may wait for the next model


async def expected_bytes() -> float:
    """KV cache and repacked weights, as llama.cpp itself reports them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.ceiling", "--widths", "1", "--steps", "8", "--repeats", "1"),
        cwd=places.ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    buffers = json.loads(output.decode().splitlines()[-1])["buffers_mib"]
    return float(sum(size for name, size in buffers.items() if name.endswith("KV") or "REPACK" in name)) * 2**20


async def memory(server: Running, bench: Bench) -> dict[str, float]:
    """See the module's first sentence. Sizes in MB of 10^6 bytes, slopes in MB per 1,000 requests."""
    expected = await expected_bytes()
    agent, worker = agent_and_worker(server)
    await server.client.answers(bench.prompts(32, PROMPT), ANSWER, DEFAULT)
    after_streams = (anonymous_bytes(agent), anonymous_bytes(worker))
    prompts = bench.prompts(500, 24)
    readings: list[tuple[int, int]] = []
    limit = asyncio.Semaphore(AT_ONCE)

    async def short(index: int) -> None:
        async with limit:
            await server.client.answer(prompts[index * 7 % len(prompts)], 2, DEFAULT)

    for point in range(POINTS):
        share = REQUESTS // POINTS
        async with asyncio.TaskGroup() as group:
            for index in range(point * share, (point + 1) * share):
                group.create_task(short(index))
        readings.append((anonymous_bytes(agent), anonymous_bytes(worker)))
    late = readings[POINTS // 2 :]
    thousands = [index * REQUESTS / POINTS / 1000 for index in range(len(late))]
    return {
        "expected_mb": expected / MB,
        "agent_mb": after_streams[0] / MB,
        "worker_mb": after_streams[1] / MB,
        "worker_extra_mb": (after_streams[1] - expected) / MB,
        "agent_mb_end": readings[-1][0] / MB,
        "worker_mb_end": readings[-1][1] / MB,
        "worker_extra_mb_end": (readings[-1][1] - expected) / MB,
        "agent_slope_mb": stats.slope(thousands, [reading[0] / MB for reading in late]),
        "worker_slope_mb": stats.slope(thousands, [reading[1] / MB for reading in late]),
    }
