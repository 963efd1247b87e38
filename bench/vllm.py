"""What the agent costs over vLLM, beside a bare vLLM with the same flags.

The real vLLM is the tests' community rebuild for CPUs with a tiny model: its rates say nothing of GPUs, what the agent adds does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from bench import client, places, servers

sys.path.insert(0, str(places.ROOT / "tools"))

import vllm_cpu

EAGER = "--enforce-eager"
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": -1}
"""The same for both, said by the request: the agent has Ollama's defaults, whose top_k vLLM computes by a sort of the vocabulary."""
READY_SECONDS = 300.0
CONTEXT = 2048
ANSWER = 128
TRIALS = 60
STREAMS = {"one": 1, "eight": 8, "thirty_two": 32}
ROUNDS = 20
"""Turns of each server, for each number of streams."""
INTERVALS = (1, 2, 4)
INTERVAL_TURNS = 4
INTERVAL_STREAMS = (1, 8, 32, 128, 256)
END = "2"
"""The token that ends an answer of the tiny model."""
PROMPT = "the weather in Paris is about many rivers and the engines of London"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A server with OpenAI's completions.

    :ivar model: what it calls its model.
    """

    url: str
    model: str
    process: psutil.Process
    session: aiohttp.ClientSession

    def cpu(self) -> float:
        """Seconds of user and system time, of its own process alone."""
        times = self.process.cpu_times()
        return times.user + times.system

    async def stream(self, tokens: int, reads: list[float] | None = None, **further: Any) -> tuple[int, float]:
        """(tokens that came, seconds until the first byte of the first).

        :param further: fields of the request.
        :param reads: gets when each read was, by the performance counter; that is dearer, so only few streams should.
        """
        body = {
            "model": self.model,
            "prompt": PROMPT,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **SAMPLING,
            **further,
        }
        last, began, first = b"", time.perf_counter(), 0.0
        async with self.session.post(f"{self.url}/v1/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                now = time.perf_counter()
                first = first or now - began
                if reads is not None:
                    reads.append(now)
                last = (last + chunk)[-4096:]
        usage = [line[6:] for line in last.splitlines() if b'"usage":{' in line]
        if not usage:
            raise client.AnswerFailed(f"the answer has no usage: {last[-200:]!r}")
        return int(orjson.loads(usage[-1])["usage"]["completion_tokens"]), first


@contextlib.asynccontextmanager
async def served(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    url: str,
    model: str | None,
    connector: aiohttp.BaseConnector | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Served]:
    """A server, ready.

    :param model: None: the first that it lists.
    :param connector: where it is reached by another way than its address.
    """
    given = connector or aiohttp.TCPConnector(limit=0)
    log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)  # noqa: ASYNC220
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        async with aiohttp.ClientSession(connector=given, headers=headers, timeout=timeout, read_bufsize=1 << 20) as session:
            await _ready(session, f"{url}/readyz" if model is None else f"{url}/health", process)
            async with session.get(f"{url}/v1/models") as response:
                name = model or (await response.json())["data"][0]["id"]
            yield Served(url, name, psutil.Process(process.pid), session)
    finally:
        servers.stop(process)
        log.close()


async def _ready(session: aiohttp.ClientSession, address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(address) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.2)
    raise client.AnswerFailed(f"{address} was not ready after {READY_SECONDS:g} s")


def agent(home: Path, model: Path, python: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Our agent over a vLLM, or what stands in for one."""
    flags = ["--engine", "vllm", f"--engine-args={EAGER}", "--ctx-size", str(CONTEXT), "--parallel", "64", "--port", str(port)]
    command = [sys.executable, "-m", "vllama_agent", "serve", "--model", str(model), *flags]
    return command, {"VLLAMA_VLLM_PYTHON": str(python), "VLLAMA_HOME": str(home), "VLLAMA_MAX_QUEUE": "4096"}


def bare(model: Path, python: Path, port: int, *, sequences: int = 64) -> tuple[list[str], dict[str, str]]:
    """vLLM alone with what the agent starts it with, but for its socket."""
    from vllama_agent.engines.vllm import arguments
    from vllama_agent.hardware import cpu

    on_cpu = arguments.OnCpu(cache_gib=1, threads=max(1, cpu.usable_cores() - 1))
    settings = arguments.Settings(context=CONTEXT, sequences=sequences, cpu=on_cpu, extra=(EAGER,))
    words = arguments.command(python, model, Path("/unused"), settings)
    at = words.index("--uds")
    command = [*words[:at], "--host", "127.0.0.1", "--port", str(port), *words[at + 2 :]]
    environment = arguments.environment(os.environ, settings, key="", caches=places.CACHE / "vllm-caches")
    return command, {name: value for name, value in environment.items() if name != "VLLM_API_KEY"}


async def over_bare(number: int) -> dict[str, float]:
    """Ours over bare, throughput at 1, 8 and 32 streams and time to the first token.

    Both are there all the time and take turns of a second, since a machine's speed wanders within minutes.

    Then once more with all of vLLM on one core, and the client, and the agent where there is one, on another: so vLLM loses no core to
    the agent, which then costs what it delays alone.
    """
    model, python = vllm_cpu.tiny_model(), vllm_cpu.ensure()
    with tempfile.TemporaryDirectory() as home:
        command, environment = agent(Path(home), model, python, port := servers.free_port())
        async with served(command, environment, url=f"http://127.0.0.1:{port}", model=None) as ours:
            command, environment = bare(model, python, port := servers.free_port())
            async with served(command, environment, url=f"http://127.0.0.1:{port}", model="model") as alone:
                pair = (ours, alone) if number % 2 else (alone, ours)
                for server in pair:
                    await server.stream(ANSWER)
                first = await _first_token_ms(pair)
                rates = await _rates(pair)
                with _apart(ours, alone):
                    rates |= {f"apart_{name}": both for name, both in (await _rates(pair)).items()}
    return {
        **{f"{name}_ratio": both[ours] / both[alone] for name, both in rates.items()},
        "bare_thirty_two": rates["thirty_two"][alone],
        "bare_apart_thirty_two": rates["apart_thirty_two"][alone],
        "bare_ttft_ms": first[alone],
        "added_ttft_ms": first[ours] - first[alone],
    }


async def _first_token_ms(servers_: Sequence[Served]) -> dict[Served, float]:
    """Median time to the first token of a lone request."""
    found: dict[Served, list[float]] = {server: [] for server in servers_}
    for _ in range(TRIALS):
        for server in servers_:
            found[server].append((await server.stream(1))[1])
    return {server: 1000 * statistics.median(times) for server, times in found.items()}


async def _rates(servers_: Sequence[Served]) -> dict[str, dict[Served, float]]:
    """Tokens per second of so many streams."""
    found: dict[str, dict[Served, float]] = {}
    for name, streams in STREAMS.items():
        counts, seconds = dict.fromkeys(servers_, 0), dict.fromkeys(servers_, 0.0)
        for turn in range(ROUNDS):
            for server in servers_[:: -1 if turn % 2 else 1]:
                began = time.perf_counter()
                counts[server] += sum(tokens for tokens, _first in await asyncio.gather(*(server.stream(ANSWER) for _ in range(streams))))
                seconds[server] += time.perf_counter() - began
        found[name] = {server: counts[server] / seconds[server] for server in servers_}
    return found


@contextlib.contextmanager
def _apart(ours: Served, alone: Served) -> Iterator[None]:
    """Meanwhile vLLM has the first core, and everything else of this benchmark the last."""
    allowed = os.sched_getaffinity(0)
    vllms = [*ours.process.children(recursive=True), alone.process, *alone.process.children(recursive=True)]
    for core, processes in ((min(allowed), vllms), (max(allowed), [psutil.Process(), ours.process])):
        for process in processes:
            _keep_to(process, {core})
    try:
        yield
    finally:
        _keep_to(psutil.Process(), allowed)


def _keep_to(process: psutil.Process, cores: set[int]) -> None:
    for thread in process.threads():
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(thread.id, cores)


async def intervals(_number: int) -> dict[str, float]:
    """Tokens per second of a bare vLLM whose events hold one, two or four tokens, in turns, behind one that warms so many streams up."""
    port, found = servers.free_port(), {}
    command, environment = bare(vllm_cpu.tiny_model(), vllm_cpu.ensure(), port, sequences=max(INTERVAL_STREAMS))
    async with served(command, environment, url=f"http://127.0.0.1:{port}", model="model") as server:
        for streams in INTERVAL_STREAMS:
            await _rate(server, streams)
            rates: dict[int, list[float]] = {tokens: [] for tokens in INTERVALS}
            for turn in range(INTERVAL_TURNS):
                for tokens in INTERVALS[:: -1 if turn % 2 else 1]:
                    rates[tokens].append(await _rate(server, streams, stream_interval=tokens))
            found |= {f"streams_{streams}_by_{tokens}": statistics.fmean(of) for tokens, of in rates.items()}
    return found


async def _rate(server: Served, streams: int, **further: Any) -> float:
    """Of answers that forbid their end, so that all are as long."""
    began, whole = time.perf_counter(), {"logit_bias": {END: -100}, **further}
    made = await asyncio.gather(*(server.stream(ANSWER, **whole) for _ in range(streams)))
    return sum(tokens for tokens, _first in made) / (time.perf_counter() - began)
