"""libllama through llama-cpp-python's ctypes bindings: a model, a context with its KV memory, and one reusable batch.

Only the worker and the text helper import this module. llama-cpp-python mirrors C structs by hand and fields move between releases,
so exactly one version is accepted. A GGML_ASSERT ends the process: callers keep the rules that the library asserts (see `Context`).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np
import numpy.typing as npt

from vllama_agent.engines.llama_cpp import version
from vllama_core.config import LlamaCppConfig
from vllama_core.errors import EngineFailed

MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ: sequence ids that a unified KV cache accepts, whatever n_seq_max says."""
RECURRENT_SEQUENCES = 16
"""Most sequences of a recurrent or hybrid model: each has its own state, tens of megabytes, reserved at start."""
CACHE_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7}
CACHE_TYPE_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32, "q4_1": 20 / 32, "iq4_nl": 18 / 32}
CACHE_TYPE_BYTES |= {"q5_0": 22 / 32, "q5_1": 24 / 32}
"""Bytes per value; quantised types hold 32 values and their scales in a block."""
TILED_CACHE_TYPES = frozenset({"f16", "f32"})
"""Those for which ggml's flash attention on the CPU computes many rows at once; see `costs.RowShape.of_tiles`."""
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
ROPE_SCALING = {"none": 0, "linear": 1, "yarn": 2}

GGML_LOG_WARN_ERROR = (3, 4)
"""Levels of `enum ggml_log_level` that people should see."""

LogSink = Callable[[str], None]
_log_callback: Any = None  # ctypes keeps no reference to a callback: this one does


def start(log: LogSink) -> None:
    """Initialise the backend once per process; libllama's warnings and errors go to `log`, the rest nowhere."""
    global _log_callback
    version.check()

    @C.llama_log_callback  # type: ignore[untyped-decorator]
    def on_log(level: int, text: bytes, _data: object) -> None:
        if level in GGML_LOG_WARN_ERROR:
            log(text.decode("utf-8", "replace").rstrip())

    _log_callback = on_log
    C.llama_log_set(_log_callback, None)
    C.llama_backend_init()


@dataclass(frozen=True, slots=True)
class Kind:
    """How a model remembers: decides which reuse of earlier computation is right."""

    sliding_window: int
    """Tokens; 0 = none."""
    recurrent: bool
    """Recurrent or hybrid: its state cannot be rolled back or split."""


class Model:
    """Weights (or, with `vocab_only`, just the vocabulary and metadata)."""

    def __init__(self, files: tuple[Path, ...], config: LlamaCppConfig, *, vocab_only: bool = False) -> None:
        params = C.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = config.gpu_layers
        params.load_mode = _load_mode(config)
        if config.tensor_split:
            split = (ctypes.c_float * C.llama_max_devices())(*config.tensor_split)
            params.tensor_split = split
        # all files by their paths: blobs do not bear the names by which libllama would find the others
        paths = (ctypes.c_char_p * len(files))(*(str(file).encode() for file in files))
        self.handle = C.llama_model_load_from_splits(paths, len(files), params)
        if not self.handle:
            raise EngineFailed(f"llama.cpp cannot load {files[0].name}; the lines above say why")
        self.vocab = C.llama_model_get_vocab(self.handle)
        self.vocab_size = int(C.llama_vocab_n_tokens(self.vocab))
        self._pieces: dict[int, bytes] = {}

    @property
    def kind(self) -> Kind:
        recurrent = C.llama_model_is_recurrent(self.handle) or C.llama_model_is_hybrid(self.handle)
        return Kind(sliding_window=int(C.llama_model_n_swa(self.handle)), recurrent=bool(recurrent))

    @property
    def trained_context(self) -> int:
        return int(C.llama_model_n_ctx_train(self.handle))

    @property
    def weight_bytes(self) -> int:
        return int(C.llama_model_size(self.handle))

    @property
    def can_decode(self) -> bool:
        return bool(C.llama_model_has_decoder(self.handle)) and not C.llama_model_has_encoder(self.handle)

    def meta(self, key: str) -> str | None:
        """A scalar of the GGUF metadata, as text."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = C.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if needed < 0:
                return None
            if needed < size:
                return buffer.value.decode("utf-8", "replace")
            size = needed + 1

    @property
    def chat_template(self) -> str | None:
        text = C.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def end_tokens(self) -> frozenset[int]:
        """Ids that end a generation (end of sequence, of turn, of message)."""
        return frozenset(i for i in range(self.vocab_size) if C.llama_vocab_is_eog(self.vocab, i))

    def piece(self, token: int) -> bytes:
        """The bytes of a token as they appear in an answer: control tokens have none. Looked up once per token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.render_token(token, special=False)
        return piece

    def render_token(self, token: int, *, special: bool) -> bytes:
        """The bytes of a token; with `special`, also those of control tokens."""
        size = 32
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = C.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of UTF-8 text."""
        capacity = len(text) + 8
        buffer = (C.llama_token * capacity)()
        count = C.llama_tokenize(self.vocab, text, len(text), buffer, capacity, add_special, parse_special)
        if count < 0:
            capacity = -count
            buffer = (C.llama_token * capacity)()
            count = C.llama_tokenize(self.vocab, text, len(text), buffer, capacity, add_special, parse_special)
        return list(buffer[:count])

    @property
    def bos(self) -> int:
        """Id of the token that starts a text; -1 = none."""
        return int(C.llama_vocab_bos(self.vocab)) if C.llama_vocab_get_add_bos(self.vocab) else -1

    @property
    def special_texts(self) -> tuple[str, str]:
        """The texts of BOS and EOS, for templates."""
        ids = (C.llama_vocab_bos(self.vocab), C.llama_vocab_eos(self.vocab))
        bos, eos = (self.render_token(i, special=True).decode("utf-8", "replace") if i >= 0 else "" for i in ids)
        return bos, eos

    @property
    def fill_in_middle(self) -> tuple[int, int, int]:
        """Ids of the tokens before the prefix, the suffix and the middle; -1 = the model has none."""
        return (int(C.llama_vocab_fim_pre(self.vocab)), int(C.llama_vocab_fim_suf(self.vocab)), int(C.llama_vocab_fim_mid(self.vocab)))

    @property
    def can_insert(self) -> bool:
        return all(token >= 0 for token in self.fill_in_middle)

    @property
    def heads(self) -> int:
        """Attention heads of a layer; 0 = the model has none."""
        return int(C.llama_model_n_head(self.handle))

    def kv_bytes_per_cell(self, config: LlamaCppConfig) -> int:
        """Upper bound of what one token takes in the KV pool, over all layers."""
        # libllama tells the first layer's KV heads; of a hybrid model that layer may be recurrent and have none
        heads = int(C.llama_model_n_head_kv(self.handle)) or max(1, self.heads)
        width = int(C.llama_model_n_embd(self.handle)) // max(1, self.heads)
        architecture = self.meta("general.architecture") or ""
        key = int(self.meta(f"{architecture}.attention.key_length") or width)
        value = int(self.meta(f"{architecture}.attention.value_length") or width)
        per_layer = heads * (key * CACHE_TYPE_BYTES[config.cache_type_k] + value * CACHE_TYPE_BYTES[config.cache_type_v])
        return int(per_layer * int(C.llama_model_n_layer(self.handle)))

    def close(self) -> None:
        C.llama_model_free(self.handle)


def _load_mode(config: LlamaCppConfig) -> int:
    modes = {
        (True, False): C.LLAMA_LOAD_MODE_MMAP,
        (True, True): C.LLAMA_LOAD_MODE_MMAP_MLOCK,
        (False, False): C.LLAMA_LOAD_MODE_NONE,
        (False, True): C.LLAMA_LOAD_MODE_MLOCK,
    }
    return int(modes[config.mmap, config.mlock])


Int32s = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


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

    def __init__(self, model: Model, config: LlamaCppConfig, *, cells: int, threads: int) -> None:
        self.model = model
        kind = model.kind
        self.whole_only = kind.recurrent
        guarded = kind.sliding_window > 0 and not kind.recurrent
        self.running = min(config.parallel, MAX_SEQUENCES // 2)
        if kind.recurrent:
            self.running = self.sequences = min(config.parallel, RECURRENT_SEQUENCES)
        else:
            self.sequences = MAX_SEQUENCES // 2 if guarded else MAX_SEQUENCES
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
            raise EngineFailed(f"llama.cpp cannot make a context of {cells} cells; ask for fewer with --kv-cells or --ctx-size")
        self.cells = int(C.llama_n_ctx(self.handle))
        self.batch_size = int(C.llama_n_batch(self.handle))
        self.ubatch_size = int(C.llama_n_ubatch(self.handle))
        self._memory = C.llama_get_memory(self.handle)
        self._batch = _Batch(self.batch_size)
        self._guard = _TwinGuard(self._memory, self.sequences, interval=max(1, kind.sliding_window // 2)) if guarded else None

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

    def decode(self, tokens: Int32s, positions: Int32s, sequences: Int32s, outputs: npt.NDArray[np.int8]) -> int:
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


class _TwinGuard:
    """Keeps a second holder on every cell of a sliding-window model before its window passes; see `Context`."""

    def __init__(self, memory: Any, sequences: int, *, interval: int) -> None:
        self._memory = memory
        self._sequences = sequences
        self._interval = interval
        self._unguarded = np.zeros(sequences, np.int64)
        """Newest tokens of each sequence that its twin does not hold yet."""

    def computed(self, sequences: Int32s) -> None:
        self._unguarded += np.bincount(sequences, minlength=self._sequences)
        for sequence in np.flatnonzero(self._unguarded >= self._interval).tolist():
            self._catch_up(sequence)

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        self._catch_up(source)
        C.llama_memory_seq_cp(self._memory, source + self._sequences, target + self._sequences, begin, end)

    def remove(self, sequence: int, begin: int, end: int) -> None:
        if begin == 0 and end == -1:
            self._unguarded[sequence] = 0
        else:
            self._catch_up(sequence)
        C.llama_memory_seq_rm(self._memory, sequence + self._sequences, begin, end)

    def _catch_up(self, sequence: int) -> None:
        count = int(self._unguarded[sequence])
        if count:
            length = int(C.llama_memory_seq_pos_max(self._memory, sequence)) + 1
            C.llama_memory_seq_cp(self._memory, sequence, sequence + self._sequences, length - count, length)
            self._unguarded[sequence] = 0


class _Batch:
    """A `llama_batch` on our own arrays: filling it is five slice assignments instead of a ctypes write per token and field."""

    def __init__(self, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._pos = np.zeros(capacity, np.int32)
        self._seq = np.zeros(capacity, np.int32)
        self._output = np.zeros(capacity, np.int8)
        self._id_count = np.ones(capacity, np.int32)
        # the pointer table is constant: row i's id stands at &seq[i]
        self._pointers = np.arange(capacity, dtype=np.uintp) * np.uintp(4) + np.uintp(self._seq.ctypes.data)
        self._struct = C.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(ctypes.POINTER(C.llama_token)),
            embd=None,
            pos=self._pos.ctypes.data_as(ctypes.POINTER(C.llama_pos)),
            n_seq_id=self._id_count.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(C.llama_seq_id))),
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, tokens: Int32s, positions: Int32s, sequences: Int32s, outputs: npt.NDArray[np.int8]) -> Any:
        n = len(tokens)
        self._token[:n] = tokens
        self._pos[:n] = positions
        self._seq[:n] = sequences
        self._output[:n] = outputs
        self._struct.n_tokens = n
        return self._struct


def uses_gpu() -> bool:
    """Whether this build has a GPU backend that found a device."""
    return bool(C.llama_supports_gpu_offload())


def backend_name() -> str:
    """Which instruction sets or devices this build of libllama uses, in its own words, cut to those switched on."""
    info = C.llama_print_system_info().decode("utf-8", "replace")
    return ", ".join(re.findall(r"(\w+) = 1", info))
