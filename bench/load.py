"""One line of a table: so many streams at once against a server with OpenAI's completions.

python -m bench.load http://127.0.0.1:11434 MODEL --streams 64 --name "vllama on vLLM"
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import aiohttp
import orjson

from bench import stats

ANSWER = 256
TEXT = "the history of Paris begins on an island in the Seine where fishermen lived long before Rome"


async def one(session: aiohttp.ClientSession, url: str, model: str, number: int) -> tuple[int, float]:
    """(tokens, seconds to the first byte). Every stream has a prompt of its own, so that no cache answers for another."""
    body = {
        "model": model,
        "prompt": f"{number} {TEXT} {number} {TEXT}",
        "max_tokens": ANSWER,
        "temperature": 0.8,
        "seed": number,
        "stream": True,
    }
    first, last, began = 0.0, b"", time.perf_counter()
    async with session.post(f"{url}/v1/completions", json=body | {"stream_options": {"include_usage": True}}) as response:
        response.raise_for_status()
        async for chunk in response.content.iter_any():
            first = first or time.perf_counter() - began
            last = (last + chunk)[-4096:]
    usage = [line[6:] for line in last.splitlines() if b'"usage":{' in line]
    return int(orjson.loads(usage[-1])["usage"]["completion_tokens"]), first


async def line(url: str, model: str, streams: int, name: str) -> str:
    """A row of Markdown."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await one(session, url, model, -1)
        began = time.perf_counter()
        made = await asyncio.gather(*(one(session, url, model, number) for number in range(streams)))
        rate = sum(tokens for tokens, _first in made) / (time.perf_counter() - began)
    firsts = [first for _tokens, first in made]
    return (
        f"| {name} | {streams} | {rate:,.0f} | {1000 * statistics.median(firsts):,.0f} ms | {1000 * stats.percentile(firsts, 99):,.0f} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--name", required=True)
    asked = parser.parse_args()
    print(asyncio.run(line(asked.url, asked.model, asked.streams, asked.name)))


if __name__ == "__main__":
    main()
