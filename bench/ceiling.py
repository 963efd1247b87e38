"""The ceiling probe: how fast bare `llama_decode` runs, with no sampler, no HTTP and no scheduler around it.

    python -m bench.ceiling --widths 1,4,16 --prompt 32 --steps 256      # prints one JSON object

It uses the model, thread count and context settings that our worker uses, runs in a process of its own, and feeds fixed token ids
through one preallocated batch at the positions of the real workload.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np

from bench import places

SEQUENCES = 64
CELLS = 4 * 8192
BATCH, UBATCH = 2048, 512
BUFFER = re.compile(r"^\S+:\s+(\S+)\s+(model|KV|compute|output) buffer size\s*=\s*([\d.]+) MiB")


class Batch:
    """A llama_batch over numpy arrays, filled by slices; nothing is allocated per step."""

    def __init__(self, rows: int) -> None:
        self.token, self.position, self.sequence = (np.zeros(rows, np.int32) for _ in range(3))
        self.output = np.zeros(rows, np.int8)
        self._counts = np.ones(rows, np.int32)
        start = self.sequence.ctypes.data
        self._tables = np.arange(start, start + 4 * rows, 4, dtype=np.uint64)  # row i's list of sequences is &sequence[i]
        pointer = ctypes.POINTER
        self.struct = C.llama_batch(
            n_tokens=0,
            token=self.token.ctypes.data_as(pointer(C.llama_token)),
            embd=None,
            pos=self.position.ctypes.data_as(pointer(C.llama_pos)),
            n_seq_id=self._counts.ctypes.data_as(pointer(ctypes.c_int32)),
            seq_id=self._tables.ctypes.data_as(pointer(pointer(C.llama_seq_id))),
            logits=self.output.ctypes.data_as(pointer(ctypes.c_int8)),
        )


class Probe:
    """A loaded model and its context."""

    def __init__(self, model: Path, threads: int) -> None:
        self.buffers: dict[str, float] = {}
        self._on_log = C.llama_log_callback(self._log)  # ctypes keeps no reference of its own
        C.llama_log_set(self._on_log, None)
        C.llama_backend_init()
        self._model = C.llama_model_load_from_file(str(model).encode(), C.llama_model_default_params())
        parameters = C.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch, parameters.n_seq_max = CELLS, BATCH, UBATCH, SEQUENCES
        parameters.n_outputs_max = SEQUENCES
        parameters.n_outputs_max_per_seq = 1
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = parameters.swa_full = True
        self._context = C.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise SystemExit(f"{model}: no context could be made")
        self._memory = C.llama_get_memory(self._context)
        self._batch = Batch(BATCH)
        self.vocabulary = int(C.llama_vocab_n_tokens(C.llama_model_get_vocab(self._model)))

    def _log(self, _level: int, text: bytes, _data: Any) -> None:
        if found := BUFFER.match(text.decode(errors="replace")):
            key = f"{found[1]} {found[2]}"
            self.buffers[key] = self.buffers.get(key, 0.0) + float(found[3])

    def decode(self, rows: int) -> None:
        self._batch.struct.n_tokens = rows
        if code := C.llama_decode(self._context, self._batch.struct):
            raise SystemExit(f"llama_decode failed with code {code}")
        C.llama_synchronize(self._context)

    def prefill(self, width: int, prompt: int, generator: np.random.Generator) -> None:
        """One prompt per sequence, each in its own call as far as they fit."""
        batch = self._batch
        for sequence in range(width):
            for start in range(0, prompt, BATCH):
                rows = min(BATCH, prompt - start)
                batch.token[:rows] = generator.integers(1000, self.vocabulary - 1000, rows)
                batch.position[:rows] = np.arange(start, start + rows)
                batch.sequence[:rows] = sequence
                batch.output[:rows] = 0
                batch.output[rows - 1] = 1
                self.decode(rows)

    def median_run(self, width: int, prompt: int, steps: int, repeats: int) -> dict[str, float]:
        """The run in the middle of several: one alone lasts few seconds, and machines have moods."""
        runs = sorted((self.run(width, prompt, steps) for _ in range(repeats)), key=lambda run: run["rate"])
        return runs[repeats // 2]

    def run(self, width: int, prompt: int, steps: int) -> dict[str, float]:
        """Tokens per second of `width` sequences over `steps` steps after a prompt."""
        C.llama_memory_clear(self._memory, True)
        generator = np.random.default_rng(width)
        began = time.perf_counter()
        self.prefill(width, prompt, generator)
        prefilled = time.perf_counter()
        batch = self._batch
        tokens = generator.integers(1000, self.vocabulary - 1000, (steps, width), dtype=np.int32)
        batch.sequence[:width] = np.arange(width)
        batch.output[:width] = 1
        started = time.perf_counter()
        for step in range(steps):
            batch.token[:width] = tokens[step]
            batch.position[:width] = prompt + step
            self.decode(width)
        seconds = time.perf_counter() - started
        return {"rate": width * steps / seconds, "step_ms": 1000 * seconds / steps, "prefill_rate": width * prompt / (prefilled - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="1,2,4,8,16")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3, help="runs per width, of which the middle one counts")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    arguments = parser.parse_args()
    probe = Probe(places.gguf(), arguments.threads)
    probe.run(1, arguments.prompt, 16)  # pages in, warms up
    widths = [int(width) for width in arguments.widths.split(",")]
    found = {str(width): probe.median_run(width, arguments.prompt, arguments.steps, arguments.repeats) for width in widths}
    print(json.dumps({"threads": arguments.threads, "buffers_mib": probe.buffers, "widths": found}))


if __name__ == "__main__":
    main()
