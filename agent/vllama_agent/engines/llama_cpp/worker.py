"""The engine worker: one decode loop, alone in its process. Token ids in, text out.

Started under a keeper as ``python -m vllama_agent.engines.llama_cpp.worker FD``; the first frame on the socket holds its settings, its
own first frame is the hello. See `wire` for the frames. No other Python thread runs here, but for the moment in which a grammar is
compiled: a second one would make each return from libllama wait for the interpreter lock.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vllama_agent.engines.base import Sampling
from vllama_agent.engines.llama_cpp import lib, sampling, version, wire
from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.frames import FrameSocket, run_child
from vllama_agent.engines.llama_cpp.grammars import GrammarFailed, Grammars
from vllama_agent.engines.llama_cpp.mask import Row
from vllama_agent.engines.llama_cpp.model import Model
from vllama_agent.engines.llama_cpp.prefix_cache import Cache, PrefixCache
from vllama_agent.engines.llama_cpp.request import Output, Request, Step
from vllama_agent.engines.llama_cpp.scheduler import Scheduler
from vllama_agent.engines.llama_cpp.textstream import TextStream
from vllama_agent.engines.llama_cpp.whole_cache import WholeCache
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed

STATS_SECONDS = 0.2
"""Between two snapshots for metrics while steps run; one more goes out when the last request ends."""
MAX_REFUSALS = 3
"""Times in a row that libllama may find no cells where we count some, before we admit that our count is wrong."""
COMPILING_SECONDS = 0.002
"""Between two looks at whether a grammar is compiled, while there is nothing else to do."""


class Worker:
    """The loop and what it works with."""

    def __init__(self, link: FrameSocket, settings: dict[str, Any]) -> None:
        config = LoadConfig(**settings["config"])
        self._link = link
        self._model = Model(tuple(Path(file) for file in settings["files"]), config)
        if not self._model.can_decode:
            raise EngineFailed("this model only encodes (embeddings); generating text needs a decoder")
        self._context_length = settings["context"]
        self._context = lib.Context(self._model, config, cells=settings["cells"], threads=settings["threads"])
        self._cache: Cache = WholeCache(self._context) if self._context.whole_only else PrefixCache(self._context)
        self._grammars = Grammars(self._model)
        self._scheduler = Scheduler(
            self._cache,
            StepCosts(),
            max_rows=self._context.ubatch_size,
            step_budget=config.step_budget,
            shape=self._row_shape(config, settings["threads"]),
            is_end=self._model.is_end,
            piece=self._model.piece,
        )
        self._samplers: dict[int, sampling.Sampler] = {}
        self._logprobs: dict[int, int] = {}
        self._seconds = {"schedule": 0.0, "decode": 0.0, "sample": 0.0, "emit": 0.0}
        self._stats_sent = 0.0
        self._changed = False
        """Something happened since the last snapshot that went out while idle."""
        self._refusals = 0
        self._warm_up()

    def run(self) -> None:
        """Work until the agent closes the socket."""
        self._link.send(self._hello())
        while True:
            begin = time.perf_counter()
            for message in self._link.poll():
                self._receive(message)
            if self._grammars.compiling:
                self._submit_compiled()
            step = self._scheduler.plan(time.monotonic())
            self._seconds["schedule"] += time.perf_counter() - begin
            if step is None:
                self._idle()
            else:
                self._run(step)

    # -- one step -----------------------------------------------------------------------------------------------------------------

    def _run(self, step: Step) -> None:
        begin = time.perf_counter()
        if self._context.decode(step.tokens, step.positions, step.sequences, step.wants_logits):
            self._refusals += 1
            if self._refusals > MAX_REFUSALS:
                raise EngineFailed(f"libllama finds no cells for {len(step.tokens)} rows although {self._cache.free} are counted as free")
            self._scheduler.make_room(len(step.tokens))
            return
        self._refusals = 0
        logits = self._context.logits(len(step.outputs)) if step.outputs else ()
        decoded = time.perf_counter()
        details = (
            {request.id: self._details(request, row) for request, row in zip(step.outputs, logits, strict=True)} if self._logprobs else {}
        )
        sampled = [self._sample(request, row) for request, row in zip(step.outputs, logits, strict=True)]
        chosen = time.perf_counter()
        now = time.monotonic()
        outputs = self._scheduler.commit(step, sampled, now=now, seconds=decoded - begin)
        committed = time.perf_counter()
        self._emit(outputs, details, now)
        self._changed = True
        seconds = self._seconds
        seconds["decode"] += decoded - begin
        seconds["sample"] += chosen - decoded
        seconds["schedule"] += committed - chosen
        seconds["emit"] += time.perf_counter() - committed

    def _sample(self, request: Request, row: Row) -> int | None:
        """The next token; None where its grammar leaves none, which ends the request."""
        sampler = self._samplers[request.id]
        if request.grammar is None:
            return sampler.sample(row)
        try:
            return sampler.sample(row, self._grammars.mask(request.id))
        except GrammarFailed as error:
            self._refuse(request.id, error)
            return None

    def _emit(self, outputs: list[Output], details: dict[int, Any], now: float) -> None:
        rows = []
        for output in outputs:
            request = output.request
            row: list[Any] = [request.id, output.token, output.text]
            describe = details.get(request.id)
            chosen = describe(output.token) if describe else None
            if chosen is not None or output.finish is not None:
                row += [chosen, output.finish, _usage(request, now) if output.finish else None, request.text.stop]
            if output.finish is not None:
                self._forget(request.id)
            rows.append(row)
        frame: dict[str, Any] = {"t": "step", "rows": rows}
        if now - self._stats_sent >= STATS_SECONDS:
            frame["stats"] = self._stats(now)
        self._link.send(frame)

    def _details(self, request: Request, row: Row) -> Any:
        """A function from the chosen token to its log-probabilities; the raw row is read before the sampler edits it."""
        top = self._logprobs.get(request.id)
        if top is None:
            return None
        raw = row.copy()

        def of(token: int) -> list[Any]:
            own, best = sampling.log_probabilities(raw, token, top)
            render = self._model.render_token
            return [render(token, special=True), own, [[i, render(i, special=True), p] for i, p in best]]

        return of

    def _idle(self) -> None:
        now = time.monotonic()
        if self._changed:
            self._link.send({"t": "step", "rows": [], "stats": self._stats(now)})
            self._changed = False
        # a compiler that is done wakes nobody
        for message in self._link.wait(COMPILING_SECONDS if self._grammars.compiling else None):
            self._receive(message)

    # -- requests -----------------------------------------------------------------------------------------------------------------

    def _receive(self, message: dict[str, Any]) -> None:
        self._changed = True
        match message["t"]:
            case "submit":
                self._submit(message)
            case "cancel":
                if self._grammars.compiling.pop(message["id"], None) or self._scheduler.cancel(message["id"]):
                    self._forget(message["id"])
            case "pause":
                self._scheduler.pause(message["id"], message["paused"])

    def _submit(self, message: dict[str, Any]) -> None:
        options = Sampling(**message["sampling"])
        tokens: list[int] = np.frombuffer(message["tokens"], np.int32).tolist()
        limit = message["limit"]
        sampler = sampling.make_sampler(options, vocab_size=self._model.vocab_size, context=limit)
        sampler.observe(tokens[-limit:] if options.repeat_last_n < 0 else tokens[-options.repeat_last_n :] if options.repeat_last_n else ())
        self._samplers[message["id"]] = sampler
        if message["top_logprobs"] is not None:
            self._logprobs[message["id"]] = message["top_logprobs"]
        request = Request(
            id=message["id"],
            tokens=tokens,
            limit=limit,
            arrival=time.monotonic(),
            max_tokens=message["max_tokens"],
            text=TextStream(tuple(message["stop"])),
            markers=message["markers"],
            num_keep=message["num_keep"],
            shift=message["shift"],
        )
        if message["grammar"] is None:
            self._scheduler.submit(request)
        else:
            self._grammars.compile(message["grammar"], request, forces=message["top_logprobs"] is None)

    def _submit_compiled(self) -> None:
        for request, failure in self._grammars.compiled():
            if failure is None:
                self._scheduler.submit(request)
            else:
                self._refuse(request.id, failure)

    def _refuse(self, request_id: int, failure: GrammarFailed) -> None:
        self._link.send({"t": "refused", "id": request_id, "message": str(failure)})
        self._forget(request_id)

    def _forget(self, request_id: int) -> None:
        self._samplers.pop(request_id).close()
        self._logprobs.pop(request_id, None)
        self._grammars.forget(request_id)

    # -- start and reports --------------------------------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Page the weights in, and have kernels compiled where a backend does that at their first use."""
        one = np.ones(1, np.int8)
        self._context.decode(np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), one)
        self._context.logits(1)
        self._context.remove(0, 0, -1)

    def _row_shape(self, config: LoadConfig, threads: int) -> RowShape:
        tiled_types = config.cache_type_k == config.cache_type_v and config.cache_type_k in lib.TILED_CACHE_TYPES
        if lib.uses_gpu() or config.flash_attn == "off" or not tiled_types or not self._model.heads:
            return RowShape()
        return RowShape.of_tiles(heads=self._model.heads, threads=threads)

    def _hello(self) -> dict[str, Any]:
        kind = self._model.kind
        placed = lib.placed()
        return {
            "t": "hello",
            "protocol": wire.PROTOCOL,
            "version": version.PINNED,
            "context_length": self._context_length,
            "trained_context": self._model.trained_context,
            "kv_cells": self._context.cells,
            "parallel": self._context.running,
            "vocab_size": self._model.vocab_size,
            "memory_bytes": _memory_bytes(placed.gpu_bytes, self._model.weight_bytes),
            "placement": dataclasses.asdict(placed),
            "chat_template": self._model.chat_template,
            "insert": self._model.can_insert,
            "sliding_window": kind.sliding_window,
            "recurrent": kind.recurrent,
            "backend": lib.backend_name(),
        }

    def _stats(self, now: float) -> dict[str, Any]:
        self._stats_sent = now
        totals = self._scheduler.totals
        return {
            "running": self._scheduler.running,
            "waiting": self._scheduler.waiting + len(self._grammars.compiling),
            "kv_cells_used": self._cache.used,
            "kv_cells_cached": self._cache.idle,
            "kv_cells_total": self._context.cells,
            "grammars": len(self._grammars),
            "steps_total": totals.steps,
            "prompt_tokens_computed_total": totals.prompt_computed,
            "prompt_tokens_reused_total": totals.prompt_reused,
            "generated_tokens_total": totals.generated,
            "preemptions_total": totals.preemptions,
            "context_shifts_total": totals.context_shifts,
            "evicted_cells_total": self._cache.evicted_total,
            "step_seconds_total": dict(self._seconds),
        }


def _usage(request: Request, now: float) -> list[float]:
    return [
        request.prompt_tokens,
        request.cached_tokens,
        request.generated,
        request.started - request.arrival,
        request.first_token - request.started,
        now - request.first_token,
        request.context_shifts,
    ]


def _memory_bytes(on_gpus: int, weights: int) -> int:
    """All that the model takes: what is resident here and what lies on GPUs; where the system does not tell, at least the weights."""
    resident = _resident_bytes()
    return max(weights, on_gpus) if resident is None else resident + on_gpus


def _resident_bytes() -> int | None:
    try:
        status = Path("/proc/self/statm").read_text()
    except OSError:
        return None
    import resource

    return int(status.split()[1]) * resource.getpagesize()


def work(link: FrameSocket) -> None:
    """Load what the first frame names, and decode until the agent leaves."""
    lib.start(lambda line: print(f"llama.cpp: {line}", file=sys.stderr, flush=True))
    settings = link.wait()[0]
    Worker(link, settings).run()


if __name__ == "__main__":
    sys.exit(run_child(work))
