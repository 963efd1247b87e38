"""What libllama takes for models, one JSON line each. A process of its own: it replaces libllama's log callback.

llama_memory.py reserve FILE...        its own figures for our worker's settings, in MiB; nothing is allocated
llama_memory.py resident CELLS FILE    resident bytes of this process when it has computed a batch, libraries' pages apart
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import psutil

from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.bindings import C
from vllama_agent.engines.llama_cpp.model import Model
from vllama_core.config import LoadConfig

CELLS, SEQUENCES, RECURRENT, ROWS = 8192, 64, 16, 512
BATCH = 128
"""Rows of the batch that `resident` computes: enough that buffers are in use."""
SIZES = {
    "kv": re.compile(r"llama_kv_cache: size = +([\d.]+) MiB"),
    "states": re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB"),
    "compute": re.compile(r"compute buffer size = +([\d.]+) MiB"),
    "logits": re.compile(r"output buffer size = +([\d.]+) MiB"),
}


def reserve(files: list[str]) -> None:
    """By libllama's dry run."""
    lines: list[str] = []

    @C.llama_log_callback
    def keep(_level: int, text: bytes, _data: object) -> None:
        lines.append(text.decode("utf-8", "replace"))

    C.llama_log_set(keep, None)
    C.llama_backend_init()
    for file in files:
        model_params = C.llama_model_default_params()
        model_params.no_alloc, model_params.load_mode = True, C.LLAMA_LOAD_MODE_NONE
        model = C.llama_model_load_from_file(file.encode(), model_params)
        recurrent = C.llama_model_is_recurrent(model) or C.llama_model_is_hybrid(model)
        params = C.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CELLS, 2048, ROWS
        params.n_seq_max = params.n_outputs_max = RECURRENT if recurrent else SEQUENCES
        params.n_outputs_max_per_seq = 1
        params.kv_unified = params.swa_full = True
        lines.clear()
        context = C.llama_init_from_model(model, params)
        found = {name: sum(float(match[1]) for line in lines if (match := size.search(line))) for name, size in SIZES.items()}
        print(json.dumps({"file": file, "weights": C.llama_model_size(model) / (1 << 20), **found}), flush=True)
        C.llama_free(context)
        C.llama_model_free(model)


def resident(cells: int, file: str) -> None:
    """As the worker does it."""
    lib.start(lambda _line: None)
    config = LoadConfig(parallel=SEQUENCES)
    model = Model((Path(file),), config)
    context = lib.Context(model, config, cells=cells, threads=2)
    rows, outputs = min(BATCH, cells), np.zeros(BATCH, np.int8)
    outputs[-1] = 1
    context.decode(np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32), np.zeros(rows, np.int32), outputs[-rows:])
    others = np.arange(1, context.running, dtype=np.int32)
    context.decode(np.zeros_like(others), np.zeros_like(others), others, np.ones(len(others), np.int8))
    process = psutil.Process()
    libraries = sum(mapped.rss for mapped in process.memory_maps() if mapped.path.startswith("/") and mapped.path != file)
    print(json.dumps({"file": file, "resident": process.memory_info().rss - libraries}))


if __name__ == "__main__":
    if sys.argv[1] == "reserve":
        reserve(sys.argv[2:])
    else:
        resident(int(sys.argv[2]), sys.argv[3])
