"""libllama through llama-cpp-python's ctypes bindings: the library itself, and a context with its KV memory.

Only the worker and the text helper import this module. llama-cpp-python mirrors C structs by hand and fields move between releases,
so exactly one version is accepted. A GGML_ASSERT ends the process: callers keep the rules that the library asserts (see `Context`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vllama_agent.engines.llama_cpp import backends, version
from vllama_agent.engines.llama_cpp.batch import Batch, Int8s, Int32s
from vllama_agent.engines.llama_cpp.bindings import C
from vllama_agent.engines.llama_cpp.model import Model
from vllama_agent.engines.llama_cpp.twins import TwinGuard
from vllama_core import placement
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed
from vllama_core.sizing.llama_cpp import MAX_SEQUENCES, RECURRENT_SEQUENCES, RUNNING_SEQUENCES, SEQUENCES

CACHE_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7}
PLAIN_CACHE_TYPES = frozenset({"f32", "f16", "bf16"})
TILED_CACHE_TYPES = frozenset({"f16", "f32"})
"""Those for which ggml's flash attention on the CPU computes many rows at once; see `costs.RowShape.of_tiles`."""
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
ROPE_SCALING = {"none": 0, "linear": 1, "yarn": 2}

GGML_LOG_INFO = 2
GGML_LOG_WARN_ERROR = (3, 4)
"""Levels of `enum ggml_log_level`; the latter ones people should see."""

LogSink = Callable[[str], None]
_log_callback: Any = None  # ctypes keeps no reference to a callback: this one does
_load_log: list[str] = []
"""What was logged about where a model was put; libllama tells it in no other way."""


def start(log: LogSink) -> None:
    """Initialise the backend once per process; libllama's warnings and errors go to `log`, what it says of a model's place is kept for
    `placed`, the rest goes nowhere."""
    global _log_callback
    version.check()

    @C.llama_log_callback  # type: ignore[untyped-decorator]
    def on_log(level: int, text: bytes, _data: object) -> None:
        if level in GGML_LOG_WARN_ERROR:
            log(text.decode("utf-8", "replace").rstrip())
        elif level == GGML_LOG_INFO and placement.is_about_place(line := text.decode("utf-8", "replace")):
            _load_log.append(line)

    _log_callback = on_log
    C.llama_log_set(_log_callback, None)
    C.llama_backend_init()


Floats = npt.NDArray[np.float32]


def _way_out(config: LoadConfig) -> str:
    """Of a context that cannot be made."""
    if config.flash_attn == "off" and config.cache_type_v not in PLAIN_CACHE_TYPES:
        return f"values in {config.cache_type_v} need flash attention: say --flash-attn on, or --cache-type-v f16"
    return "ask for fewer with --kv-cells or --ctx-size"


class Context:
    """One decode context with a unified KV pool; implements `kv.Memory`.

    Sliding-window models need a guard. Their window cache, although made full-sized, hands out a cell again once its *only* sequence
    has moved past the window (`llama_kv_cache::find_slot`), and then a shorter prefix of that sequence can no longer be shared. A cell
    that two sequences hold is never handed out, so each sequence of such a model has a twin that holds the same cells. Twins are made
    before the window has passed: memory calls take ids up to `MAX_SEQUENCES`, rows only ids below n_seq_max.

    Rules that the library asserts and callers keep: at most `ubatch_size` rows; positions of a sequence without a gap; rows only of
    sequences below `running`; logits are read only of rows that asked for them; one thread.

    :ivar running: sequence ids that rows may use: 0 .. running - 1.
    :ivar sequences: ids that may hold cells; those from `running` on can only be copied to and from.
    """

    def __init__(self, model: Model, config: LoadConfig, *, cells: int, threads: int) -> None:
        self.model = model
        kind = model.kind
        self.whole_only = kind.recurrent
        guarded = kind.sliding_window > 0 and not kind.recurrent
        parallel = config.parallel or SEQUENCES
        self.running = min(parallel, RUNNING_SEQUENCES)
        if kind.recurrent:
            self.running = self.sequences = min(parallel, RECURRENT_SEQUENCES)
        else:
            self.sequences = RUNNING_SEQUENCES if guarded else MAX_SEQUENCES
        params = C.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = config.batch_size
        params.n_ubatch = min(config.ubatch_size, config.batch_size)
        params.n_seq_max = self.running
        # without this libllama reserves logits for every row of a micro-batch: 512 rows x 262k tokens are half a gigabyte
        params.n_outputs_max = self.running
        params.n_outputs_max_per_seq = 1
        params.n_threads = threads
        params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTENTION[config.flash_attn]
        params.type_k = CACHE_TYPES[config.cache_type_k]
        params.type_v = CACHE_TYPES[config.cache_type_v]
        params.kv_unified = True
        params.swa_full = True
        if config.rope_scaling is not None:
            params.rope_scaling_type = ROPE_SCALING[config.rope_scaling]
        params.rope_freq_base = config.rope_freq_base or 0.0
        params.rope_freq_scale = config.rope_freq_scale or 0.0
        self.handle = C.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise EngineFailed(f"llama.cpp cannot make a context of {cells} cells; {_way_out(config)}")
        self.cells = int(C.llama_n_ctx(self.handle))
        self.batch_size = int(C.llama_n_batch(self.handle))
        self.ubatch_size = int(C.llama_n_ubatch(self.handle))
        self._memory = C.llama_get_memory(self.handle)
        self._batch = Batch(self.batch_size)
        self._guard = TwinGuard(self._memory, self.sequences, interval=max(1, kind.sliding_window // 2)) if guarded else None

    # -- KV memory ----------------------------------------------------------------------------------------------------------------

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Let `target` share the cells [begin, end) of `source`; of a recurrent model: copy its whole newest state."""
        C.llama_memory_seq_cp(self._memory, source, target, begin, end)
        if self._guard:
            self._guard.copy(source, target, begin, end)

    def remove(self, sequence: int, begin: int, end: int) -> None:
        """Take `sequence` off the cells [begin, end); end -1 = open."""
        if self._guard:
            self._guard.remove(sequence, begin, end)
        if not C.llama_memory_seq_rm(self._memory, sequence, begin, end):
            raise AssertionError(f"libllama refused to remove [{begin}, {end}) of sequence {sequence}")

    def length(self, sequence: int) -> int:
        """Tokens that libllama holds for a sequence; 0 = none."""
        return int(C.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    # -- compute ------------------------------------------------------------------------------------------------------------------

    def decode(self, tokens: Int32s, positions: Int32s, sequences: Int32s, outputs: Int8s) -> int:
        """Run rows; 0 = done, 1 = no free cells (nothing changed).

        :raises EngineFailed: any other result; the context is not to be used again.
        """
        code = int(C.llama_decode(self.handle, self._batch.fill(tokens, positions, sequences, outputs)))
        if code not in (0, 1):
            raise EngineFailed(f"llama_decode failed with code {code}")
        if code == 0 and self._guard:
            self._guard.computed(sequences)
        return code

    def logits(self, count: int) -> Floats:
        """(count, vocab_size) float32 view of the rows that asked for output, in their order; writable, valid until the next decode."""
        pointer = C.llama_get_logits(self.handle)
        return np.ctypeslib.as_array(pointer, (count, self.model.vocab_size))

    def close(self) -> None:
        C.llama_free(self.handle)


def placed() -> placement.Report:
    """Where the model and the context that were made in this process lie."""
    return placement.report_of(backends.devices(), _load_log)


def uses_gpu() -> bool:
    """Whether this build has a GPU backend that found a device."""
    return bool(C.llama_supports_gpu_offload())


def backend_name() -> str:
    """Which instruction sets or devices this build of libllama uses, in its own words, cut to those switched on."""
    info = C.llama_print_system_info().decode("utf-8", "replace")
    return ", ".join(re.findall(r"(\w+) = 1", info))
