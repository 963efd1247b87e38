"""What a model takes in our llama.cpp worker, for given settings. Sizes in bytes.

The worker keeps one pool of cells for all sequences, all cells of windowed layers too (`swa_full`), and asks for at most one row of
logits per sequence. How buffers grow was read from llama.cpp's source and measured on models of many shapes; docs/sizing.md shows both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vllama_core.sizing.shape import MIB, Layer, ModelShape

CACHE_TYPE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes per value; quantised types hold 32 values and their scales in a block."""
SEQUENCES = 64
"""Default: most that decode at once, as far as they fit."""
MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ: sequence ids that a unified KV cache accepts, whatever n_seq_max says."""
RUNNING_SEQUENCES = MAX_SEQUENCES // 2
"""Most that decode at once: the other ids hold prefixes, and the twins of windowed models."""
RECURRENT_SEQUENCES = 16
"""Most sequences of a recurrent or hybrid model: each has its own state, tens of megabytes, reserved at start."""
CELL_STEP = 256
"""libllama rounds a pool up to whole steps."""
LIBRARIES = 21 * MIB
"""Measured: mapped pages of the interpreter, numpy and libllama. The kernel maps a few MiB more of files that were just written."""
PROCESS = 18 * MIB + LIBRARIES
"""Measured: the worker before a model is loaded."""
HELPERS = 2
"""Text helpers per model: one that works, one that is ready to take over."""
HELPER = 23 * MIB
"""Measured: RssAnon of a text helper that has rendered and compiled a grammar, without its vocabulary (`tests/engine/test_memory.py`). The
pages of its libraries are the worker's, too, and counted there."""
TOKEN_BYTES = {False: 165, True: 320}
"""Measured: what libllama keeps per token of the vocabulary, without and with a table of merges."""
FLOAT = 4
DEVICE_CONTEXT = 300 * MIB
"""What a GPU's driver keeps for a process that uses it (CUDA: 250 to 500 MiB). None is kept where memory is shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker is started with.

    :ivar context: most tokens of one request.
    :ivar cells: tokens that all requests together can hold.
    :ivar parallel: most sequences that decode at once.
    :ivar ubatch: rows that are computed at once.
    :ivar gpu_layers: repeating layers on a GPU, the last ones first; one more than there are takes the output along. 0 = CPU only.
    :ivar mmap: the file is mapped: tensors that are laid out anew are then there twice.
    """

    context: int
    cells: int
    parallel: int
    ubatch: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True
    gpu_layers: int = 0
    mmap: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the arithmetic.

    :ivar host: bytes in the machine's memory.
    :ivar device: bytes on GPUs, all of them together.
    """

    name: str
    host: int = 0
    device: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """All lines."""

    parts: tuple[Part, ...]

    @property
    def host(self) -> int:
        """Bytes in the machine's memory."""
        return sum(part.host for part in self.parts)

    @property
    def device(self) -> int:
        """Bytes on GPUs."""
        return sum(part.device for part in self.parts)

    @property
    def total(self) -> int:
        """Both."""
        return self.host + self.device

    def of(self, name: str) -> int:
        """Bytes of one line; 0 = it is not there."""
        return sum(part.host + part.device for part in self.parts if part.name == name)


def most_sequences(shape: ModelShape, wanted: int) -> int:
    """How many of `wanted` sequences the worker runs at once."""
    return min(wanted, RECURRENT_SEQUENCES if shape.recurrent else RUNNING_SEQUENCES)


def cell_bytes(layer: Layer, settings: Settings) -> float:
    """What one token takes in a layer."""
    key, value = CACHE_TYPE_BYTES[settings.cache_type_k], CACHE_TYPE_BYTES[settings.cache_type_v]
    return layer.kv_heads * (layer.key * key + layer.value * value)


def kv_bytes(shape: ModelShape, settings: Settings) -> int:
    """The pool."""
    return int(sum(cell_bytes(layer, settings) for layer in shape.layers) * rounded(settings.cells))


def rounded(cells: int) -> int:
    """Cells as libllama makes them."""
    return -(-cells // CELL_STEP) * CELL_STEP


def logits_bytes(shape: ModelShape, settings: Settings) -> int:
    """A row of 32-bit floats per sequence."""
    return most_sequences(shape, settings.parallel) * shape.vocabulary * FLOAT


def compute_bytes(shape: ModelShape, settings: Settings) -> int:
    """The buffer of intermediate results: the larger of what the layers need and what the last step, the logits, needs."""
    rows = min(settings.ubatch, rounded(settings.cells))
    outputs = most_sequences(shape, settings.parallel)
    last = logits_bytes(shape, settings) + (rows + outputs) * shape.embedding * FLOAT
    return max(_mask_bytes(shape, settings, rows) + rows * _row_floats(shape, settings) * FLOAT, last) + _states_bytes(shape, outputs)


def _mask_bytes(shape: ModelShape, settings: Settings, rows: int) -> int:
    """Which row sees which cell: 16 bits each with flash attention, else 32; a second mask where only some layers have a window."""
    return len(shape.reaches) * rows * rounded(settings.cells) * (2 if settings.flash_attention else FLOAT)


def _row_floats(shape: ModelShape, settings: Settings) -> int:
    """Values that one row needs at once in the widest step of a layer."""
    wide, query = shape.embedding, shape.query
    key_value = max((layer.kv_heads * layer.key for layer in shape.layers), default=0)
    attention = 3 * wide + query + 2 * key_value
    if not settings.flash_attention:
        attention += query + shape.heads * rounded(settings.cells)
    # the two inputs and the product of a gate; a hole that attention leaves is used again where the product fits into it
    dense = 3 * shape.feed_forward + 2 * wide
    dense += (query if query < shape.feed_forward else 0) + (wide if wide + query < shape.feed_forward else 0)
    mixture = shape.experts * (wide + 3 * shape.expert_width) + 3 * wide + query
    return max(attention, dense, mixture if shape.experts else 0, 6 * shape.inner + wide)


def _states_bytes(shape: ModelShape, sequences: int) -> int:
    """A step gathers the states of one layer for all its sequences."""
    return sequences * max((layer.state for layer in shape.layers), default=0)


def vocabulary_bytes(shape: ModelShape) -> int:
    """What libllama keeps of the vocabulary, in each process that loads it."""
    return shape.vocabulary * TOKEN_BYTES[shape.merges]


def estimate(shape: ModelShape, settings: Settings, *, unified: bool = False) -> Estimate:
    """What the worker and its text helpers take.

    :param unified: the GPU's memory is the machine's own, as on Apple Silicon.
    """
    on_gpu = settings.gpu_layers > 0
    parts = [*_weight_parts(shape, settings), *_memory_parts(shape, settings)]
    compute, logits = compute_bytes(shape, settings), logits_bytes(shape, settings)
    parts.append(Part(name="compute buffer", host=0 if on_gpu else compute, device=compute if on_gpu else 0))
    parts.append(Part(name="logits", host=logits))
    parts.append(
        Part(name="worker process", host=PROCESS + vocabulary_bytes(shape), device=DEVICE_CONTEXT if on_gpu and not unified else 0)
    )
    parts.append(Part(name="text helpers", host=HELPERS * (HELPER + vocabulary_bytes(shape))))
    return Estimate(tuple(part for part in parts if part.host or part.device))


def resident_bytes(shape: ModelShape, settings: Settings) -> int:
    """Resident memory of a CPU worker that has computed a full batch. Tensors that were laid out anew count twice while the file is
    mapped; the kernel drops the mapped copy first, so that `estimate` counts them once."""
    twice = shape.weights.repacked if settings.mmap else 0
    return estimate(shape, replace(settings, gpu_layers=0)).total - HELPERS * (HELPER + vocabulary_bytes(shape)) + twice


def _weight_parts(shape: ModelShape, settings: Settings) -> list[Part]:
    """The last layers go to the GPU first. The table of tokens stays in the machine's memory, so that a model which uses it for the
    output too has it twice."""
    weights, count = shape.weights, len(shape.layers)
    first = max(0, count - settings.gpu_layers)
    device = sum(weights.layers[first:]) if settings.gpu_layers > 0 else 0
    host = weights.total - device
    if settings.gpu_layers > count:
        device += weights.output or weights.embedding
        host -= weights.output
    return [Part(name="weights", host=host, device=device)]


def _memory_parts(shape: ModelShape, settings: Settings) -> list[Part]:
    first = max(0, len(shape.layers) - settings.gpu_layers)
    kept = [cell_bytes(layer, settings) * rounded(settings.cells) for layer in shape.layers]
    states = [layer.state * most_sequences(shape, settings.parallel) for layer in shape.layers]
    return [
        Part(name="KV cache", host=int(sum(kept[:first])), device=int(sum(kept[first:]))),
        Part(name="recurrent states", host=sum(states[:first]), device=sum(states[first:])),
    ]
