"""The engine worker: one decode loop, alone in its process. Token ids in, text out.

Started under a keeper as ``python -m vllama_agent.engines.llama_cpp.worker FD``; the first frame on the socket holds its settings, its
own first frame is the hello. See `wire` for the frames. No other Python thread runs here: a second one would make each return from
libllama wait for the interpreter lock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vllama_agent.engines.base import Sampling
from vllama_agent.engines.llama_cpp import lib, sampling, version, wire
from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.frames import FrameSocket, run_child
from vllama_agent.engines.llama_cpp.prefix_cache import Cache, PrefixCache
from vllama_agent.engines.llama_cpp.scheduler import Output, Request, Scheduler, Step
from vllama_agent.engines.llama_cpp.textstream import TextStream
from vllama_agent.engines.llama_cpp.whole_cache import WholeCache
from vllama_core.config import LlamaCppConfig
from vllama_core.errors import EngineFailed

STATS_SECONDS = 0.2
"""Between two snapshots for metrics while steps run; one more goes out when the last request ends."""
MAX_REFUSALS = 3
"""Times in a row that libllama may find no cells where we count some, before we admit that our count is wrong."""
WARM_UP_ROWS = 128
DEFAULT_CONTEXT = 8192
KV_WINDOWS = 4
"""Default pool, in contexts."""


class Worker:
    """The loop and what it works with."""

    def __init__(self, link: FrameSocket, settings: dict[str, Any]) -> None:
        config = LlamaCppConfig(**settings["config"])
        self._link = link
        self._model = lib.Model(tuple(Path(file) for file in settings["files"]), config)
        if not self._model.can_decode:
            raise EngineFailed("this model only encodes (embeddings); generating text needs a decoder")
        self._context_length, cells = _sizes(self._model, config, settings["kv_memory"])
        self._context = lib.Context(self._model, config, cells=cells, threads=settings["threads"])
        self._cells = min(cells, self._context.cells)
        self._cache: Cache = WholeCache(self._context) if self._context.whole_only else PrefixCache(self._context)
        ends = self._model.end_tokens()
        self._scheduler = Scheduler(
            self._cache,
            self._warm_up(),
            max_rows=self._context.ubatch_size,
            step_budget=config.step_budget,
            shape=self._row_shape(config, settings["threads"]),
            is_end=ends.__contains__,
            piece=self._model.piece,
        )
        self._samplers: dict[int, sampling.Sampler] = {}
        self._logprobs: dict[int, int] = {}
        self._seconds = {"schedule": 0.0, "decode": 0.0, "sample": 0.0, "emit": 0.0}
        self._stats_sent = 0.0
        self._changed = False
        """Something happened since the last snapshot that went out while idle."""
        self._refusals = 0

    def run(self) -> None:
        """Work until the agent closes the socket."""
        self._link.send(self._hello())
        while True:
            begin = time.perf_counter()
            for message in self._link.poll():
                self._receive(message)
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
        details = [self._details(request, row) for request, row in zip(step.outputs, logits, strict=True)] if self._logprobs else None
        sampled = [self._samplers[request.id].sample(row) for request, row in zip(step.outputs, logits, strict=True)]
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

    def _emit(self, outputs: list[Output], details: list[Any] | None, now: float) -> None:
        rows = []
        for index, output in enumerate(outputs):
            request = output.request
            row: list[Any] = [request.id, output.token, output.text]
            chosen = details[index](output.token) if details and details[index] else None
            if chosen is not None or output.finish is not None:
                row += [chosen, output.finish, _usage(request, now) if output.finish else None]
            if output.finish is not None:
                self._forget(request.id)
            rows.append(row)
        frame: dict[str, Any] = {"t": "step", "rows": rows}
        if now - self._stats_sent >= STATS_SECONDS:
            frame["stats"] = self._stats(now)
        self._link.send(frame)

    def _details(self, request: Request, row: sampling.Row) -> Any:
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
        for message in self._link.wait():
            self._receive(message)

    # -- requests -----------------------------------------------------------------------------------------------------------------

    def _receive(self, message: dict[str, Any]) -> None:
        self._changed = True
        match message["t"]:
            case "submit":
                self._submit(message)
            case "cancel":
                if self._scheduler.cancel(message["id"]):
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
        self._scheduler.submit(
            Request(
                id=message["id"],
                tokens=tokens,
                limit=limit,
                arrival=time.monotonic(),
                max_tokens=message["max_tokens"],
                text=TextStream(tuple(message["stop"])),
                num_keep=message["num_keep"],
                shift=message["shift"],
            )
        )

    def _forget(self, request_id: int) -> None:
        self._samplers.pop(request_id).close()
        self._logprobs.pop(request_id, None)

    # -- start and reports --------------------------------------------------------------------------------------------------------

    def _warm_up(self) -> StepCosts:
        """Page the weights in, compile kernels, and measure a first estimate of the costs."""
        seconds = []
        for rows in (1, min(WARM_UP_ROWS, self._context.ubatch_size, self._cells), 1):
            begin = time.perf_counter()
            wants = np.zeros(rows, np.int8)
            wants[-1] = 1
            self._context.decode(np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32), np.zeros(rows, np.int32), wants)
            self._context.logits(1)
            seconds.append(time.perf_counter() - begin)
            self._context.remove(0, 0, -1)
        rows = min(WARM_UP_ROWS, self._context.ubatch_size, self._cells)
        return StepCosts(seconds_per_prefill_row=seconds[1] / rows, seconds_per_decode_step=seconds[2])

    def _row_shape(self, config: LlamaCppConfig, threads: int) -> RowShape:
        tiled_types = config.cache_type_k == config.cache_type_v and config.cache_type_k in lib.TILED_CACHE_TYPES
        if lib.uses_gpu() or config.flash_attn == "off" or not tiled_types or not self._model.heads:
            return RowShape()
        return RowShape.of_tiles(heads=self._model.heads, threads=threads)

    def _hello(self) -> dict[str, Any]:
        kind = self._model.kind
        return {
            "t": "hello",
            "protocol": wire.PROTOCOL,
            "version": version.PINNED,
            "context_length": self._context_length,
            "trained_context": self._model.trained_context,
            "kv_cells": self._cells,
            "parallel": self._context.running,
            "vocab_size": self._model.vocab_size,
            "memory_bytes": _resident_bytes() or self._model.weight_bytes,
            "gpu": lib.uses_gpu(),
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
            "waiting": self._scheduler.waiting,
            "kv_cells_used": self._cache.used,
            "kv_cells_cached": self._cache.idle,
            "kv_cells_total": self._cells,
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


def _sizes(model: lib.Model, config: LlamaCppConfig, kv_memory: int | None) -> tuple[int, int]:
    """(context of one request, cells of the pool). Defaults hold until a plan from the model's and the machine's sizes replaces them."""
    context = config.ctx_size or min(DEFAULT_CONTEXT, model.trained_context or DEFAULT_CONTEXT)
    cells = config.kv_cells or KV_WINDOWS * context
    if config.kv_cells is None and kv_memory is not None:
        affordable = kv_memory // max(1, model.kv_bytes_per_cell(config))
        cells = max(context, min(cells, affordable))
    if cells < context:
        raise EngineFailed(f"--kv-cells {cells} is less than --ctx-size {context}: no request could use its whole context")
    return context, cells


def _resident_bytes() -> int | None:
    try:
        status = Path("/proc/self/statm").read_text()
    except OSError:
        return None
    import resource

    return int(status.split()[1]) * resource.getpagesize()


def work(link: FrameSocket) -> None:
    """Load what the first frame names, and decode until the agent leaves."""
    settings = link.wait()[0]
    lib.start(lambda line: print(f"llama.cpp: {line}", file=sys.stderr, flush=True))
    Worker(link, settings).run()


if __name__ == "__main__":
    sys.exit(run_child(work))
