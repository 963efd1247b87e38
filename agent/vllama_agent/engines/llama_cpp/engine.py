"""The llama.cpp engine as the agent sees it: starts and restarts the worker and its text helper, and speaks the wire."""

from __future__ import annotations

import array
import asyncio
import contextlib
import dataclasses
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from vllama_agent.engines.base import (
    EngineState,
    EngineStats,
    GenerateRequest,
    Generation,
    ModelFacts,
    wider_window,
)
from vllama_agent.engines.life import ChildEngine
from vllama_agent.engines.llama_cpp import spares, submission, wire
from vllama_agent.engines.llama_cpp.helpers import TextHelpers, ids
from vllama_agent.engines.llama_cpp.link import Link, LinkClosed
from vllama_agent.engines.llama_cpp.spares import Spares
from vllama_agent.engines.llama_cpp.streams import Stream
from vllama_agent.engines.process import Child, ending
from vllama_agent.engines.rate import Rate
from vllama_agent.hardware import cpu
from vllama_agent.lifecycle import Event
from vllama_core import placement
from vllama_core.config import LoadConfig
from vllama_core.engine_choice import Choice
from vllama_core.errors import ENGINE_STOPPED, EngineFailed, InvalidRequest, PromptTooLong

log = logging.getLogger(__name__)

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each restart of a worker that died; after as many failures in a row the engine is FAILED."""
STEADY_SECONDS = 60.0
"""A worker that lived this long did not die of its start: the back-off begins anew."""


class LlamaCppEngine(ChildEngine[Link]):
    """See `base.Engine`.

    :param files: the GGUF file, or all files of a split set, first one first.
    :param config: with every size decided: the worker is loaded with exactly these, a restarted one too.
    :param load_timeout: seconds until a loading worker counts as failed.
    :param choice: what it is to run on; None: whatever it finds.
    :param spares: the agent's processes that wait; None: there are none.
    """

    def __init__(
        self,
        *,
        files: Sequence[Path],
        config: LoadConfig,
        load_timeout: float,
        choice: Choice | None = None,
        spares: Spares | None = None,
    ) -> None:
        if None in (config.ctx_size, config.kv_cells, config.parallel):
            raise ValueError("an engine is loaded with sizes that were decided: ctx_size, kv_cells and parallel must be numbers")
        super().__init__(owner="llama.cpp worker")
        self._files = tuple(files)
        self._config = config
        self._load_timeout = load_timeout
        self._choice = choice
        self._spares = spares or Spares()
        self._child: Child | None = None
        self._link = Link()
        self._helpers: TextHelpers | None = None
        self._streams: dict[int, Stream] = {}
        self._ids = itertools.count(1)
        self._stats = EngineStats()
        self._rate = Rate()

    # -- life ---------------------------------------------------------------------------------------------------------------------

    async def _start(self) -> Link:
        self._helpers = TextHelpers(self._files, self._spares, chat_family=self._config.chat_family)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._helpers.start(), name="start text helper")
                worker = group.create_task(self._start_worker(), name="start worker")
        except ExceptionGroup as group:  # `except*` would make a group of a cancellation, and nobody who waits would know it
            failures = group.subgroup(EngineFailed)
            if failures is None:
                raise
            raise EngineFailed(str(failures.exceptions[0])) from None
        return worker.result()

    async def _stop(self) -> None:
        self._fail_streams("the model was unloaded")
        await self._stop_children()

    async def _start_worker(self) -> Link:
        """Give a process the model and wait for its hello."""
        started = await self._spares.take(spares.WORKER)
        self._child, link = started.child, started.link
        link.send(
            {
                "files": [str(file) for file in self._files],
                "config": dataclasses.asdict(self._config),
                "context": self._config.ctx_size,
                "cells": self._config.kv_cells,
                "threads": self._config.threads or cpu.usable_cores(),
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
        self.facts = self._checked(hello)
        self._link = link
        return link

    def _checked(self, hello: dict[str, Any]) -> ModelFacts:
        """What the worker says of itself, and whether it runs where it was to run."""
        report = placement.from_fields(hello["placement"])
        misplaced = placement.mismatch(self._choice, report, gpu_layers=self._config.gpu_layers) if self._choice else None
        if misplaced:
            log.error("%s %s", self._files[0].name, misplaced)
        return _facts(hello, report, misplaced)

    async def _own(self, started: Link) -> None:
        """Take in frames for as long as the worker lives; start another one when it dies."""
        link, failures = started, 0
        while True:
            begin = time.monotonic()
            await link.pass_on(self._take)
            if time.monotonic() - begin > STEADY_SECONDS:
                failures = 0
            code = await self._child.ended() if self._child else 0
            sentence = f"{ENGINE_STOPPED}: the llama.cpp worker ended with {ending(code)}"
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
                    link = await self._start_worker()
                    break
                except EngineFailed as error:
                    log.error("restart %d failed: %s", failures, error)
            self._to(Event.LOADED)
            log.warning("the llama.cpp worker is back after %d restart(s)", failures)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "failed":
            log.error("llama.cpp worker: %s", frame["message"])
            return
        if frame["t"] == "refused":
            if stream := self._streams.get(frame["id"]):
                stream.fail(InvalidRequest(frame["message"], field=stream.constrained_by))
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
        totals = {field.name: getattr(self._stats, field.name) for field in dataclasses.fields(EngineStats) if "total" in field.name}
        self._stats = EngineStats(**totals)

    async def _stop_worker(self) -> None:
        child, self._child = self._child, None
        if child:
            await child.stop()

    async def _stop_children(self) -> None:
        await self._stop_worker()
        if self._helpers:
            await self._helpers.stop()
            self._helpers = None

    # -- requests -----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        facts = self._ready()
        submission.check_ids(request, facts)
        limit = min(facts.context_length, request.num_ctx or facts.context_length)
        stream = await self._prepare(request, facts, limit)
        stream.constrained_by = submission.constrained_by(request)
        grammar = await self._grammar(request, stream, stream.constrained_by) if stream.constrained_by else None
        request_id = next(self._ids)
        self._ready()  # it may have died while the prompt was rendered
        self._streams[request_id] = stream
        stream.on_pause(lambda paused: self._link.send({"t": "pause", "id": request_id, "paused": paused}))
        try:
            self._link.send(submission.submission(request_id, request, stream, limit, grammar))
            yield stream
        finally:
            self._streams.pop(request_id, None)
            if not stream.done:
                self._link.send({"t": "cancel", "id": request_id})

    async def _grammar(self, request: GenerateRequest, stream: Stream, field: str) -> str:
        constraint = request.constraint
        names = ("tools", "must_call", "parallel_calls", "think", "template")
        job = {
            "t": "grammar",
            "kind": constraint.kind if constraint else None,
            "text": constraint.text if constraint else "",
            "field": field,
            "begun": stream.reading.begun if stream.reading else None,
            **{name: getattr(request, name) for name in names},
        }
        try:
            return str((await self._text(job))["grammar"])
        except InvalidRequest as error:
            raise InvalidRequest(f"{field} cannot be honoured: {error}", field=field) from None

    async def _prepare(self, request: GenerateRequest, facts: ModelFacts, limit: int) -> Stream:
        room = limit - 1  # at least one token of the answer
        if request.prompt_tokens is not None and len(request.prompt_tokens) + len(request.context) <= room:
            tokens: Sequence[int] = array.array("i", (*request.context, *request.prompt_tokens))
            if not tokens:
                raise InvalidRequest("the prompt has no tokens; give it some text", field="prompt")
            return Stream(tokens, asked=len(tokens), dropped=0)
        reply = await self._text({"t": "prepare", "room": room, "window": facts.context_length, **submission.prompt_fields(request)})
        asked = reply.get("too_long") or reply["asked"]
        wider = wider_window(request, facts.context_length)
        if "too_long" in reply or (reply["dropped"] and wider and asked < wider):
            raise PromptTooLong(prompt_tokens=asked, context=limit, asked=wider)
        if reply["dropped"]:
            log.info("dropped %d of %d prompt tokens to fit %d", reply["dropped"], asked, limit)
        return submission.stream_of(reply, asked, verbatim=request.constraint is not None)

    async def render(self, request: GenerateRequest) -> str:
        if request.messages is None:
            return request.prompt or ""
        reply = await self._text({"t": "render", **submission.prompt_fields(request)})
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
            raise self._not_ready()
        return self.facts

    async def _text(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._helpers is None:
            raise EngineFailed("the model is not loaded")
        return await self._helpers.job(job)


def _facts(hello: dict[str, Any], report: placement.Report, misplaced: str | None) -> ModelFacts:
    return ModelFacts(
        context_length=hello["context_length"],
        trained_context=hello["trained_context"],
        kv_cells=hello["kv_cells"],
        parallel=hello["parallel"],
        vocab_size=hello["vocab_size"],
        memory_bytes=hello["memory_bytes"],
        vram_bytes=report.gpu_bytes,
        capabilities=frozenset({"completion", "insert"} if hello["insert"] else {"completion"}),
        chat_template=hello["chat_template"],
        engine=f"llama.cpp (llama-cpp-python {hello['version']})",
        misplaced=misplaced,
    )
