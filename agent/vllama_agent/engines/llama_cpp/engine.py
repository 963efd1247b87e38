"""The llama.cpp engine as the agent sees it: starts and restarts the worker and its text helper, and speaks the wire."""

from __future__ import annotations

import array
import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from vllama_agent import lifecycle
from vllama_agent.engines.base import EngineState, EngineStats, GenerateRequest, Generation, ModelFacts, wider_window
from vllama_agent.engines.llama_cpp import wire
from vllama_agent.engines.llama_cpp.helpers import TextHelpers, ids
from vllama_agent.engines.llama_cpp.link import Link, LinkClosed
from vllama_agent.engines.llama_cpp.streams import Stream
from vllama_agent.engines.process import Child
from vllama_agent.hardware import cpu
from vllama_agent.lifecycle import Event
from vllama_core.config import LlamaCppConfig
from vllama_core.errors import EngineFailed, InvalidRequest, PromptTooLong

log = logging.getLogger(__name__)

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each restart of a worker that died; after as many failures in a row the engine is FAILED."""
STEADY_SECONDS = 60.0
"""A worker that lived this long did not die of its start: the back-off begins anew."""
UNBOUNDED_WINDOWS = 10
"""An answer without a limit that shifts its context ends after so many windows, as Ollama's does."""
SPIN_COUNT = "20000"
"""How long an OpenMP thread spins at a barrier before it sleeps. libgomp's default spins for milliseconds: fine on an idle machine, but
where anything else wants a core the spinning thread holds up the very thread it waits for (seconds per token were seen)."""
RATE_WINDOW = 5.0
"""Seconds over which tokens per second are averaged."""


class LlamaCppEngine:
    """See `base.Engine`.

    :param files: the GGUF file, or all files of a split set, first one first.
    :param load_timeout: seconds until a loading worker counts as failed.
    """

    def __init__(self, *, files: Sequence[Path], config: LlamaCppConfig, load_timeout: float) -> None:
        self._files = tuple(files)
        self._config = config
        self._load_timeout = load_timeout
        self.state = EngineState.STOPPED
        self.failure: str | None = None
        self.facts: ModelFacts | None = None
        self._child: Child | None = None
        self._link = Link()
        self._helpers: TextHelpers | None = None
        self._owner: asyncio.Task[None] | None = None
        self._streams: dict[int, Stream] = {}
        self._ids = itertools.count(1)
        self._stats = EngineStats()
        self._rate = _Rate()

    # -- life ---------------------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        self._to(Event.LOAD)
        try:
            self._helpers = TextHelpers(self._files)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._helpers.start(), name="start text helper")
                group.create_task(self._start_worker(), name="start worker")
        except* EngineFailed as failures:
            error = failures.exceptions[0]
            await self._stop_children()
            self._to(Event.LOAD_FAILED, str(error))
            raise EngineFailed(str(error)) from None
        except* BaseException:
            await self._stop_children()
            self._to(Event.UNLOAD)
            raise
        self._to(Event.LOADED)
        self._owner = asyncio.create_task(self._own(), name="llama.cpp worker")

    async def unload(self) -> None:
        owner, self._owner = self._owner, None
        if owner:
            owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await owner
        self._fail_streams("the model was unloaded")
        await self._stop_children()
        if self.state is not EngineState.STOPPED:
            self._to(Event.UNLOAD)

    async def _start_worker(self) -> None:
        """Start the process and wait for its hello."""
        spin = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT)}
        link = Link()
        self._child = await Child.start(link, sys.executable, "-m", "vllama_agent.engines.llama_cpp.worker", environment=spin)
        link.send(
            {
                "files": [str(file) for file in self._files],
                "config": dataclasses.asdict(self._config),
                "threads": self._config.threads or cpu.usable_cores(),
                "kv_memory": cpu.available_memory() // 2,
            }
        )
        try:
            async with asyncio.timeout(self._load_timeout):
                hello = await link.next()
        except TimeoutError:
            raise EngineFailed(f"the llama.cpp worker took longer than {self._load_timeout:g} s to load {self._files[0].name}") from None
        except LinkClosed:
            code = await self._child.ended()
            raise EngineFailed(
                f"the llama.cpp worker ended with code {code} while loading {self._files[0].name}; the log says why"
            ) from None
        if hello["t"] == "failed":
            raise EngineFailed(hello["message"])
        if hello["protocol"] != wire.PROTOCOL:
            raise EngineFailed(f"the llama.cpp worker speaks protocol {hello['protocol']}, this agent {wire.PROTOCOL}: reinstall vllama")
        self.facts = _facts(hello)
        self._link = link

    async def _own(self) -> None:
        """Take in frames for as long as the worker lives; start another one when it dies."""
        failures = 0
        while True:
            begin = time.monotonic()
            await self._link.pass_on(self._take)
            if time.monotonic() - begin > STEADY_SECONDS:
                failures = 0
            code = await self._child.ended() if self._child else 0
            sentence = f"model runner has unexpectedly stopped: the llama.cpp worker ended with {_describe(code)}"
            self._fail_streams(sentence)
            self._to(Event.CRASHED, f"{sentence}; it is being restarted")
            log.error("%s; restarting", sentence)
            while True:
                if failures >= len(BACK_OFF):
                    self._to(Event.LOAD_FAILED, f"{sentence}; {failures} restarts did not help")
                    await self._stop_children()
                    return
                # spread out, so that many agents on one machine do not all load at once
                await asyncio.sleep(BACK_OFF[failures] * random.uniform(0.8, 1.2))
                failures += 1
                try:
                    await self._stop_worker()
                    await self._start_worker()
                    break
                except EngineFailed as error:
                    log.error("restart %d failed: %s", failures, error)
            self._to(Event.LOADED)
            log.warning("the llama.cpp worker is back after %d restart(s)", failures)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "failed":
            log.error("llama.cpp worker: %s", frame["message"])
            return
        streams = self._streams
        for row in frame["rows"]:
            stream = streams.get(row[0])
            if stream is not None:
                stream.feed(row)
        if stats := frame.get("stats"):
            self._stats = EngineStats(**stats, tokens_per_second=self._rate.of(stats["generated_tokens_total"]))

    def _fail_streams(self, sentence: str) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.fail(EngineFailed(sentence))
        self._stats = dataclasses.replace(self._stats, running=0, waiting=0, kv_cells_used=0, kv_cells_cached=0, tokens_per_second=0.0)

    async def _stop_worker(self) -> None:
        child, self._child = self._child, None
        if child:
            await child.stop()

    async def _stop_children(self) -> None:
        await self._stop_worker()
        if self._helpers:
            await self._helpers.stop()
            self._helpers = None

    def _to(self, event: Event, failure: str | None = None) -> None:
        self.state = lifecycle.after(self.state, event)
        self.failure = failure

    # -- requests -----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        facts = self._ready()
        _check(request, facts)
        limit = min(facts.context_length, request.num_ctx or facts.context_length)
        stream = await self._prepare(request, facts, limit)
        request_id = next(self._ids)
        self._ready()  # it may have died while the prompt was rendered
        self._streams[request_id] = stream
        stream.on_pause(lambda paused: self._link.send({"t": "pause", "id": request_id, "paused": paused}))
        try:
            self._link.send(_submission(request_id, request, stream.prompt_tokens, limit))
            yield stream
        finally:
            self._streams.pop(request_id, None)
            if not stream.done:
                self._link.send({"t": "cancel", "id": request_id})

    async def _prepare(self, request: GenerateRequest, facts: ModelFacts, limit: int) -> Stream:
        room = limit - 1  # at least one token of the answer
        if request.prompt_tokens is not None and len(request.prompt_tokens) + len(request.context) <= room:
            tokens: Sequence[int] = array.array("i", (*request.context, *request.prompt_tokens))
            if not tokens:
                raise InvalidRequest("the prompt has no tokens; give it some text", field="prompt")
            return Stream(tokens, asked=len(tokens), dropped=0)
        reply = await self._text({"t": "prepare", "room": room, "window": facts.context_length, **_prompt_fields(request)})
        asked = reply.get("too_long") or reply["asked"]
        wider = wider_window(request, facts.context_length)
        if "too_long" in reply or (reply["dropped"] and wider and asked < wider):
            raise PromptTooLong(prompt_tokens=asked, context=limit, asked=wider)
        if reply["dropped"]:
            log.info("dropped %d of %d prompt tokens to fit %d", reply["dropped"], asked, limit)
        return Stream(ids(reply["tokens"]), asked=asked, dropped=reply["dropped"])

    async def render(self, request: GenerateRequest) -> str:
        if request.messages is None:
            return request.prompt or ""
        fields = _prompt_fields(request)
        reply = await self._text({"t": "render", "messages": fields["messages"], "template": request.template})
        return str(reply["text"])

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        reply = await self._text({"t": "tokenize", "text": text, "add_special": add_special, "parse_special": parse_special})
        return list(ids(reply["tokens"]))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        reply = await self._text({"t": "detokenize", "tokens": list(tokens)})
        return str(reply["text"])

    def stats(self) -> EngineStats:
        return self._stats

    def _ready(self) -> ModelFacts:
        if self.state is not EngineState.READY or self.facts is None:
            raise EngineFailed(self.failure or f"the model is not loaded (it is {self.state})")
        return self.facts

    async def _text(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._helpers is None:
            raise EngineFailed("the model is not loaded")
        return await self._helpers.job(job)


class _Rate:
    """Tokens per second from a growing total."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def of(self, total: int) -> float:
        now = time.monotonic()
        self._points = [*(p for p in self._points if now - p[0] < RATE_WINDOW), (now, total)]
        begin, first = self._points[0]
        return max(0, total - first) / (now - begin) if now > begin else 0.0


def _check(request: GenerateRequest, facts: ModelFacts) -> None:
    """Ids outside the vocabulary would end the worker."""
    biased = tuple(token for token, _bias in request.sampling.logit_bias)
    for name, tokens in (("prompt", request.prompt_tokens or ()), ("context", request.context), ("logit_bias", biased)):
        for token in tokens:
            if not 0 <= token < facts.vocab_size:
                raise InvalidRequest(f"{name}: token id {token} is outside the vocabulary (0 to {facts.vocab_size - 1})", field=name)


def _prompt_fields(request: GenerateRequest) -> dict[str, Any]:
    messages = request.messages and [{**m.extra, "role": m.role, "content": m.content} for m in request.messages]
    names = ("prompt", "prompt_tokens", "suffix", "context", "template", "num_keep", "truncate")
    return {"messages": messages, **{name: getattr(request, name) for name in names}}


def _submission(request_id: int, request: GenerateRequest, tokens: Sequence[int], limit: int) -> dict[str, Any]:
    most = UNBOUNDED_WINDOWS * limit if request.shift else limit
    return {
        "t": "submit",
        "id": request_id,
        "tokens": array.array("i", tokens).tobytes(),
        "limit": limit,
        "max_tokens": min(request.max_tokens or most, most),
        "sampling": dataclasses.asdict(request.sampling),
        "stop": request.stop,
        "num_keep": request.num_keep if request.num_keep >= 0 else len(tokens),
        "shift": request.shift,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
    }


def _facts(hello: dict[str, Any]) -> ModelFacts:
    return ModelFacts(
        context_length=hello["context_length"],
        trained_context=hello["trained_context"],
        kv_cells=hello["kv_cells"],
        parallel=hello["parallel"],
        vocab_size=hello["vocab_size"],
        memory_bytes=hello["memory_bytes"],
        vram_bytes=hello["memory_bytes"] if hello["gpu"] else 0,
        capabilities=frozenset({"completion", "insert"} if hello["insert"] else {"completion"}),
        chat_template=hello["chat_template"],
        engine=f"llama.cpp (llama-cpp-python {hello['version']})",
    )


def _describe(code: int) -> str:
    return f"signal {code - 128}" if code > 128 else f"code {code}"
