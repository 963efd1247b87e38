"""Clients of a Service whose pods come and go: `python -m kit.clients URL SECONDS...`, run where pods can be reached.

Twice a second a stream of each length begins through Ollama's and through OpenAI's API, each on a connection of its own; meanwhile four
clients send short requests over connections that they keep. ``begun`` is printed once enough streams run for each pod to have some. Streams
begin for twelve seconds, short requests until standard input ends; what became of all of them is printed as JSON: see `Report`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass, field

import aiohttp
from kit.paced_agent import MODEL, PIECES_PER_SECOND

PERIOD = 0.5
ROUNDS = 24
"""Longer than it takes a pod's removal to begin; more streams would only keep the machine from its pace."""
ENOUGH = 4
"""Rounds of streams: that a Service with two pods sends none of eight like ones to one of them happens once in 128 times."""
KEEPERS = 4
KEEPER_PERIOD = 0.1
SHORT = {"model": MODEL, "prompt": "x", "stream": False, "options": {"num_predict": 1}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What became of one.

    :ivar round: in which it began, from 1 on.
    :ivar seconds: how long it should have taken.
    :ivar took: how long it took.
    :ivar pieces: how many of the pieces that were asked for came.
    :ivar end: its last two lines.
    :ivar error: what the connection said; empty: it ended in order.
    """

    api: str
    round: int
    seconds: float
    took: float
    pieces: int
    asked: int
    end: str
    error: str


@dataclass(slots=True)
class Report:
    """Everything.

    :ivar kept: short requests that were answered.
    :ivar lost: those that were not, and why.
    """

    streams: list[Stream] = field(default_factory=list)
    kept: int = 0
    lost: list[str] = field(default_factory=list)


async def stream(url: str, api: str, seconds: float, *, number: int) -> Stream:
    asked = round(seconds * PIECES_PER_SECOND)
    if api == "ollama":
        path, body = "/api/generate", {"model": MODEL, "prompt": "x", "options": {"num_predict": asked}}
    else:
        path, body = "/v1/completions", {"model": MODEL, "prompt": "x", "stream": True, "max_tokens": asked}
    lines: list[str] = []
    began, error = time.monotonic(), ""
    try:
        async with aiohttp.ClientSession() as session, session.post(url + path, json=body) as reply:
            lines += [line.decode().strip() async for line in reply.content if line.strip()]
            if reply.status != 200:
                error = f"status {reply.status}"
    except (aiohttp.ClientError, OSError) as failure:
        error = repr(failure)
    pieces = sum(_has_text(line) for line in lines)
    took = time.monotonic() - began
    end = "\n".join(lines[-2:])
    return Stream(api=api, round=number, seconds=seconds, took=took, pieces=pieces, asked=asked, end=end, error=error)


def _has_text(line: str) -> bool:
    try:
        answer = json.loads(line.removeprefix("data: "))
    except ValueError:
        return False
    return bool(answer.get("response") or (answer.get("choices") or [{}])[0].get("text"))


async def keep(url: str, report: Report, over: asyncio.Event) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        while not over.is_set():
            try:
                async with session.post(f"{url}/api/generate", json=SHORT, timeout=aiohttp.ClientTimeout(total=10)) as reply:
                    text = await reply.text()
                if reply.status == 200:
                    report.kept += 1
                else:
                    report.lost.append(f"status {reply.status}: {text}")
            except (aiohttp.ClientError, OSError, TimeoutError) as failure:
                report.lost.append(repr(failure))
            await asyncio.sleep(KEEPER_PERIOD)


async def main(url: str, lengths: list[float]) -> None:
    report, over = Report(), asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: over.set())
    async with asyncio.TaskGroup() as tasks:
        for number in range(KEEPERS):
            tasks.create_task(keep(url, report, over), name=f"keeper {number}")
        running = []
        for round_number in range(1, ROUNDS + 1):
            if over.is_set():
                break
            for api, seconds in itertools.product(("ollama", "openai"), lengths):
                running.append(tasks.create_task(stream(url, api, seconds, number=round_number), name=f"{seconds} s by {api}"))
            await asyncio.sleep(PERIOD)
            if round_number == ENOUGH:
                print("begun", flush=True)
    report.streams = [task.result() for task in running]
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [float(word) for word in sys.argv[2:]]))
