"""A streaming client that notes when each token came. Speaks Ollama's NDJSON (ours too) and llama-server's own /completion.

Both formats are read from raw chunks, so a reply's bytes are stamped with the time they were read at, not with the time some JSON
helper got round to them. A line may carry several tokens (a server may merge what its reader was too slow for); the true count is
in the last line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """How tokens are chosen; the same words go to every contestant."""

    name: str
    temperature: float
    top_k: int = 40
    top_p: float = 0.9
    seed: int = 1

    def options(self) -> dict[str, Any]:
        """As both Ollama and llama-server name them. min_p is 0.05 in one of them and 0 in the other by default."""
        return {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": 0.0, "seed": self.seed}


GREEDY = Sampler(name="greedy", temperature=0.0)
DEFAULT = Sampler(name="default", temperature=0.8)
"""Ollama's defaults."""


NEVER = -100.0
"""Bias of a token that must not be chosen: the least that the API takes, and with an end token's logits far below enough."""


class AnswerFailed(Exception):
    """The contestant did not answer as asked; the sentence holds what it said."""


@dataclass(slots=True)
class Answer:
    """One streamed answer. Times are of `time.perf_counter`, in seconds."""

    sent: float = 0.0
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When a piece came, and how many tokens it had."""
    done: float = 0.0
    prompt_tokens: int = 0
    generated: int = 0
    text: str = ""

    @property
    def first(self) -> float:
        """When the first token came."""
        return self.arrivals[0][0]

    @property
    def ttft(self) -> float:
        return self.first - self.sent

    @property
    def rate(self) -> float:
        """Tokens per second after those that came first; the prompt's time is not in it."""
        return (self.generated - self.arrivals[0][1]) / (self.done - self.first)

    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        times = [moment for moment, _ in self.arrivals]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one line of a stream says."""

    tokens: int
    text: str
    final: bool = False
    prompt_tokens: int = 0
    generated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """How a contestant is spoken to."""

    path: str
    body: Callable[[Prompt, int, Sampler], dict[str, Any]]
    parse: Callable[[bytes], Piece | None]


def ollama_api(model: str, *, num_ctx: int | None = None, never_end: tuple[int, ...] = ()) -> Api:
    """Ollama's /api/generate. `never_end`: ids that must not be chosen, where the server knows logit_bias (Ollama does not)."""

    def body(prompt: Prompt, tokens: int, sampler: Sampler) -> dict[str, Any]:
        options = sampler.options() | {"num_predict": tokens}
        if num_ctx is not None:
            options["num_ctx"] = num_ctx
        if never_end:
            options["logit_bias"] = {str(token): NEVER for token in never_end}
        return {"model": model, "prompt": prompt.text, "raw": True, "stream": True, "options": options}

    return Api(path="/api/generate", body=body, parse=_parse_ollama)


def _parse_ollama(line: bytes) -> Piece | None:
    if not line.strip():
        return None
    data = json.loads(line)
    if "error" in data:
        raise AnswerFailed(str(data["error"]))
    text = data.get("response", "")
    if not data["done"]:
        return Piece(1, text)
    return Piece(1 if text else 0, text, True, data.get("prompt_eval_count", 0), data.get("eval_count", 0))


def llama_server_api() -> Api:
    """llama-server's /completion with token ids; it is told to go on after an end token. Its cache of prompts stays on, as ours does."""

    def body(prompt: Prompt, tokens: int, sampler: Sampler) -> dict[str, Any]:
        request = {"prompt": list(prompt.ids), "n_predict": tokens, "stream": True, "ignore_eos": True}
        return request | sampler.options()

    return Api(path="/completion", body=body, parse=_parse_llama_server)


def _parse_llama_server(line: bytes) -> Piece | None:
    if not line.startswith(b"data: "):
        if line.startswith(b"error:"):
            raise AnswerFailed(line.decode(errors="replace"))
        return None
    data = json.loads(line[6:])
    if "error" in data:
        raise AnswerFailed(str(data["error"]))
    if not data["stop"]:
        return Piece(max(1, len(data.get("tokens", ()))), data["content"])
    return Piece(0, data["content"], True, data["tokens_evaluated"], data["tokens_predicted"])


class Client:
    """Streams from one contestant, over as many connections as there are streams."""

    def __init__(self, url: str, api: Api, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._api = api
        self._session = session

    async def answer(self, prompt: Prompt, tokens: int, sampler: Sampler, *, on_piece: Callable[[Answer], None] | None = None) -> Answer:
        """Stream one answer to its end; `on_piece` sees it grow.

        :raises AnswerFailed: an error instead of an answer, or a prompt of another length than was sent.
        """
        answer = Answer(sent=time.perf_counter())
        body = self._api.body(prompt, tokens, sampler)
        async with self._session.post(self.url + self._api.path, json=body) as response:
            if response.status != 200:
                raise AnswerFailed(f"{response.status}: {(await response.text())[:300]}")
            async for line, moment in _lines(response):
                piece = self._api.parse(line)
                if piece is None:
                    continue
                if piece.tokens:
                    answer.arrivals.append((moment, piece.tokens))
                answer.text += piece.text
                if piece.final:
                    answer.done, answer.generated, answer.prompt_tokens = moment, piece.generated, piece.prompt_tokens
                if on_piece is not None:
                    on_piece(answer)
        _check(answer, prompt)
        return answer

    async def answers(self, prompts: list[Prompt], tokens: int, sampler: Sampler) -> list[Answer]:
        """All at once."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.answer(prompt, tokens, sampler)) for prompt in prompts]
        return [task.result() for task in tasks]

    async def text(self, path: str) -> str:
        """A plain GET, such as /metrics."""
        async with self._session.get(self.url + path) as response:
            return await response.text()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[bytes, float]]:
    """Lines and the time their chunk was read."""
    rest = b""
    async for chunk in response.content.iter_any():
        moment = time.perf_counter()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line, moment
    if rest:
        yield rest, time.perf_counter()


def _check(answer: Answer, prompt: Prompt) -> None:
    if not answer.done or not answer.arrivals:
        raise AnswerFailed("the stream ended without a last line")
    if answer.prompt_tokens and abs(answer.prompt_tokens - len(prompt.ids)) > 1:
        raise AnswerFailed(f"the prompt has {len(prompt.ids)} tokens, the contestant counted {answer.prompt_tokens}")


def session() -> aiohttp.ClientSession:
    """No limit on connections, no time limit: a slow contestant is a result."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=1 << 20,
    )
