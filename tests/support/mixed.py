"""Requests over every API that a server has, some whole and some left in the middle: what tests of leaks send."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import chats

SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}, "shade": {"enum": [1, 2, 3]}}, "required": ["colour"]}
WAITING_SECONDS = 120.0
"""A request that takes longer hangs."""


@dataclass(frozen=True)
class Asked:
    """A request.

    :ivar leaves: after so many bytes of its answer; 0 = before its status, None = it stays to the end.
    """

    path: str
    body: dict[str, Any]
    leaves: int | None


def requests(model: str, tooled: str, *, seed: int, absent: frozenset[str] = frozenset()) -> Iterator[Asked]:
    """Without an end.

    :param tooled: a model that is offered tools.
    :param absent: paths that the server does not have.
    """
    chance = random.Random(seed)
    while True:
        path, body = _body(chance, model, tooled)
        if path not in absent:
            yield Asked(path, body, chance.choice((None, None, None, None, 0, 1, 200)))


def _body(chance: random.Random, model: str, tooled: str) -> tuple[str, dict[str, Any]]:
    said = " ".join(chance.choices(("red", "green", "and", "the", "sky", "Zürich"), k=chance.choice((1, 5, 40))))
    turn = {"role": "user", "content": said}
    limit, stream = chance.choice((1, 4, 16)), chance.random() < 0.6
    options = {"num_predict": limit, "seed": chance.randrange(100)}
    call = {"model": tooled, "messages": [turn], "stream": stream}
    plain = {"model": model, "stream": stream}
    match chance.randrange(11):
        case 0:
            return "/api/generate", {**plain, "prompt": said, "options": options}
        case 1:
            return "/api/generate", {**plain, "prompt": said, "format": SCHEMA, "options": {"num_predict": 30}}
        case 2:
            return "/api/chat", {**call, "tools": chats.TOOLS, "options": options, "logprobs": chance.random() < 0.5}
        case 3:
            return "/api/chat", {**plain, "messages": [turn], "format": "json", "options": options}
        case 4:
            demanded = chance.choice(("auto", "required"))
            asked = {"tools": chats.TOOLS, "tool_choice": demanded, "max_tokens": limit, "n": chance.choice((1, 3))}
            return "/v1/chat/completions", {**call, **asked}
        case 5:
            wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA}}
            return "/v1/chat/completions", {**plain, "messages": [turn], "response_format": wanted, "max_tokens": 30}
        case 6:
            return "/v1/completions", {**plain, "prompt": [said, "a"], "max_tokens": limit, "logprobs": 1}
        case 7:
            return "/v1/messages", {**call, "max_tokens": limit}
        case 8:
            return "/v1/responses", {"model": tooled, "input": said, "stream": stream, "max_output_tokens": max(limit, 16)}
        case 9:
            return "/api/chat", {**call, "messages": [{"role": "robot"}]}
        case _:
            return "/v1/completions", {**plain, "model": "nobody", "prompt": said}


async def send(http: aiohttp.ClientSession, url: str, asked: Asked) -> int | None:
    """The status; None: it was left before there was one."""
    sending = http.post(url + asked.path, json=asked.body)
    if asked.leaves == 0:
        task = asyncio.ensure_future(sending)
        done, _ = await asyncio.wait({task}, timeout=0.01)
        if not done:
            task.cancel()
            await asyncio.wait({task})
            return None
        sending = task
    async with asyncio.timeout(WAITING_SECONDS):
        response = await sending
        try:
            seen = 0
            async for piece in response.content.iter_any():
                seen += len(piece)
                if asked.leaves is not None and seen >= asked.leaves:
                    break
            return response.status
        finally:
            response.close()


async def run(url: str, stream: Iterator[Asked], *, at_once: int) -> Counter[int | None]:
    """Send them all, so many at once; how often each status came."""
    seen: Counter[int | None] = Counter()

    async def worker(http: aiohttp.ClientSession) -> None:
        for asked in stream:
            status = await send(http, url, asked)
            assert status is None or status in (200, 400, 404), f"{asked} was answered with {status}"
            seen[status] += 1

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        for number in range(at_once):
            tasks.create_task(worker(http), name=f"client {number}")
    return seen
