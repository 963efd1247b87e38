"""What our agent costs by itself: CPU per streamed token and added time to the first token, over a worker that computes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import psutil

from bench import client, places, servers
from bench.standin_agent import NAME
from vllama_agent.engines.llama_cpp import wire

SECONDS = 8.0
TRIALS = 200
PROMPT = "The quick brown fox jumps over the lazy dog while sixteen tired engineers measure how long that takes them."


@dataclass(frozen=True, slots=True)
class Agent:
    """A started agent over a stand-in."""

    url: str
    process: psutil.Process
    session: aiohttp.ClientSession

    def cpu(self) -> float:
        """Seconds of user and system time, of the agent's own process."""
        times = self.process.cpu_times()
        return times.user + times.system

    async def stream(self, tokens: int) -> int:
        """Read an answer without looking at its pieces: on few cores a busy client would slow the agent down."""
        body = {"model": NAME, "prompt": PROMPT, "raw": True, "options": {"num_predict": tokens}}
        last = b""
        async with self.session.post(f"{self.url}/api/generate", json=body) as response:
            async for chunk in response.content.iter_any():
                last = (last + chunk)[-4096:]
        piece = client.ollama_api(NAME).parse(last.strip().splitlines()[-1])
        assert piece is not None
        return piece.generated

    async def first_byte(self) -> float:
        """Seconds from a request to the first byte of its first token."""
        body = {"model": NAME, "prompt": PROMPT, "raw": True, "options": {"num_predict": 1}}
        began = time.perf_counter()
        async with self.session.post(f"{self.url}/api/generate", json=body) as response:
            await response.content.readany()
            took = time.perf_counter() - began
            await response.read()
        return took


@contextlib.asynccontextmanager
async def agent(rate: float) -> AsyncIterator[Agent]:
    """Our agent, over a stand-in that makes `rate` tokens per second."""
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"VLLAMA_BENCH_STANDIN_RATE": str(rate), "PYTHONPATH": str(places.ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "bench.standin_agent", str(port)], env=environment)  # noqa: ASYNC220
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=1 << 20) as session:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
            else:
                raise client.AnswerFailed("our agent over the stand-in was not ready after 60 s")
            yield Agent(url, psutil.Process(process.pid), session)
    finally:
        servers.stop(process)


async def cpu_per_token(streams: int, rate: float) -> tuple[float, float]:
    """(microseconds of the agent's CPU per token, tokens per second that arrived)."""
    tokens = int(rate * SECONDS / streams)
    async with agent(rate) as ours:
        await ours.stream(8)
        cpu, began = ours.cpu(), time.perf_counter()
        made = sum(await asyncio.gather(*(ours.stream(tokens) for _ in range(streams))))
        return 1e6 * (ours.cpu() - cpu) / made, made / (time.perf_counter() - began)


def bare_first_frame() -> list[float]:
    """Seconds from a submission to the first frame, for a reader that sits on the worker's socket itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    command = [sys.executable, str(places.ROOT / "bench" / "standin_worker.py"), str(theirs.fileno())]
    environment = os.environ | {"VLLAMA_BENCH_STANDIN_RATE": "1000"}
    found = []
    with ours, subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        decoder = wire.FrameDecoder()
        ours.sendall(wire.encode({"t": "settings"}))
        while not decoder.feed(ours.recv(1 << 16)):
            continue
        for number in range(TRIALS):
            began = time.perf_counter()
            ours.sendall(wire.encode({"t": "submit", "id": number, "max_tokens": 1}))
            while not decoder.feed(ours.recv(1 << 16)):
                continue
            found.append(time.perf_counter() - began)
            time.sleep(0.002)
        ours.shutdown(socket.SHUT_RDWR)
        process.wait()
    return found


async def agent_cpu(_round: int) -> dict[str, float]:
    """See the module's first sentence."""
    one, one_rate = await cpu_per_token(1, 1000)
    many, many_rate = await cpu_per_token(64, 1000)
    flood, flood_rate = await cpu_per_token(64, 20_000)
    async with agent(1000) as ours:
        await ours.first_byte()
        through_http = []
        for _ in range(TRIALS):
            through_http.append(await ours.first_byte())
            await asyncio.sleep(0.002)
    bare = await asyncio.to_thread(bare_first_frame)
    return {
        "one_us": one,
        "one_rate": one_rate,
        "many_us": many,
        "many_rate": many_rate,
        "flood_us": flood,
        "flood_rate": flood_rate,
        "ttft_ms": 1000 * statistics.median(through_http),
        "bare_ttft_ms": 1000 * statistics.median(bare),
        "added_ttft_ms": 1000 * (statistics.median(through_http) - statistics.median(bare)),
    }
