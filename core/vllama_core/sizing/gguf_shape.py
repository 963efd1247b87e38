"""From GGUF headers to a `ModelShape`.

Which layer does what is read off its tensors, so that an architecture that is new tomorrow needs no table here; widths are metadata.
Names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py; state sizes: src/llama-hparams.cpp, n_embd_r, n_embd_s.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from vllama_core.gguf import GgufError, GgufHeader, Tensor
from vllama_core.sizing.shape import Layer, ModelShape, Weights

REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
"""Types that ggml repacks for AVX2 (ggml-cpu/repack.cpp); the matrix must have a multiple of 8 rows. Arm repacks Q8_0, Q5_K and Q6_K
too, with the same outcome: the bytes are there a second time while the file is mapped."""
REPACKED_ROWS = 8
STATE_VALUE = 4
"""Bytes: recurrent states are 32-bit floats."""
PERIODS = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "llama4": 4}
"""Of architectures whose files do not say which layers have a window: the last one of so many has none (`set_swa_pattern` of
llama.cpp's src/models). Others are taken to have one in every layer."""
EXTRAS = frozenset({"clip", "adapter"})
"""Values of `general.architecture` and `general.type` of files beside the model's own."""
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_ATTENTION = ("attn_k.", "attn_kv_a_mqa.", "attn_k_b.")
_RECURRENT = ("ssm_", "shortconv.", "time_mix_")
_MATRICES = frozenset({"token_embd.weight", "output.weight", "per_layer_token_embd.weight"})


def shape_of(headers: Sequence[GgufHeader]) -> ModelShape:
    """The shape of a model.

    :param headers: of its file or of all files of a split set, the first one first, and of encoders and adapters beside it.
    :raises GgufError: a header lacks what every model's has.
    """
    first = headers[0]
    extras = [header for header in headers[1:] if {header.architecture, str(header.metadata.get("general.type"))} & EXTRAS]
    tensors = [tensor for header in headers if header not in extras for tensor in header.tensors]
    return _Reader(first, tensors, sum(tensor.size for header in extras for tensor in header.tensors)).shape()


class _Reader:
    """One model's metadata and tensors."""

    def __init__(self, header: GgufHeader, tensors: list[Tensor], extra_bytes: int) -> None:
        self._header = header
        self._tensors = tensors
        self._extra = extra_bytes
        self._by_name = {tensor.name: tensor for tensor in tensors}
        self._parts: dict[int, list[str]] = defaultdict(list)
        for tensor in tensors:
            if found := _BLOCK.fullmatch(tensor.name):
                self._parts[int(found[1])].append(found[2])
        self._count = self._number("block_count")
        table = self._by_name.get("token_embd.weight")
        self._embedding = self._number("embedding_length", table.shape[0] if table is not None else None)

    def shape(self) -> ModelShape:
        heads = max(self._each("attention.head_count", 0), default=0)
        experts = self._number("expert_used_count", 0)
        return ModelShape(
            architecture=self._header.architecture,
            parameters=self._header.parameter_count if len(self._tensors) == len(self._header.tensors) else self._counted(),
            context=self._header.context_length,
            vocabulary=self._vocabulary(),
            embedding=self._embedding,
            feed_forward=max(self._each("feed_forward_length", 0), default=0),
            heads=heads,
            query=heads * self._head_width("key"),
            inner=self._number("ssm.inner_size", 0),
            experts=experts,
            expert_width=self._number("expert_feed_forward_length", self._each("feed_forward_length", 0)[0]) if experts else 0,
            layers=tuple(self._layers()),
            weights=self._weights(),
            quantization=self._header.quantization,
            merges="tokenizer.ggml.merges" in self._header.metadata,
        )

    # -- metadata ----------------------------------------------------------------------------------------------------

    def _number(self, key: str, default: int | None = None) -> int:
        value = self._header.metadata.get(f"{self._header.architecture}.{key}", default)
        if type(value) is not int or value < 0:
            raise GgufError(f"its header has no usable {self._header.architecture}.{key}: {value!r}")
        return value

    def _each(self, key: str, default: int) -> list[int]:
        """A value per layer, which files write as one number where all are equal."""
        value: Any = self._header.metadata.get(f"{self._header.architecture}.{key}", default)
        if type(value) is int:
            return [value] * self._count
        found = [int(entry) for entry in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
        if len(found) < self._count or any(entry < 0 for entry in found):
            raise GgufError(f"its header has no usable {self._header.architecture}.{key}: {value!r}")
        return found[: self._count]

    def _head_width(self, which: str) -> int:
        heads = max(self._each("attention.head_count", 0), default=0)
        return self._number(f"attention.{which}_length", self._embedding // heads if heads else 0)

    def _vocabulary(self) -> int:
        table = self._by_name.get("token_embd.weight")
        if table is None or len(table.shape) != 2:
            raise GgufError("it has no token_embd.weight: it holds no language model")
        return table.shape[1]

    def _counted(self) -> int:
        return sum(_elements(tensor) for tensor in self._tensors)

    # -- layers ------------------------------------------------------------------------------------------------------

    def _layers(self) -> Iterable[Layer]:
        kv_heads = self._each("attention.head_count_kv", max(self._each("attention.head_count", 0), default=0))
        windows = self._windows()
        with_kv = self._count - self._number("attention.shared_kv_layers", 0)
        predicting = self._count - self._number("nextn_predict_layers", 0)
        for index in range(self._count):
            parts = self._parts[index]
            keeps = index < min(with_kv, predicting) and self._attends(parts)
            widths = self._widths(windowed=windows[index] is not None) if keeps else (0, 0)
            yield Layer(
                kv_heads=(1 if widths[1] == 0 else kv_heads[index]) if keeps else 0,
                key=widths[0],
                value=widths[1],
                window=windows[index] if keeps else None,
                state=self._state() if index < predicting and any(part.startswith(_RECURRENT) for part in parts) else 0,
            )

    def _attends(self, parts: list[str]) -> bool:
        """A fused ``attn_qkv`` beside a state belongs to linear attention, which keeps no keys."""
        if any(part.startswith(_ATTENTION) for part in parts):
            return True
        return any(part.startswith("attn_qkv.") for part in parts) and not any(part.startswith("ssm_") for part in parts)

    def _widths(self, *, windowed: bool) -> tuple[int, int]:
        """Values of a head's key and value. A model of the MLA kind keeps its latent vector as the key, and no value."""
        if f"{self._header.architecture}.attention.key_length_mla" in self._header.metadata:
            return self._number("attention.key_length"), 0
        key, value = self._head_width("key"), self._head_width("value")
        if windowed:
            return self._number("attention.key_length_swa", key), self._number("attention.value_length_swa", value)
        return key, value

    def _windows(self) -> list[int | None]:
        """Each layer's window."""
        width = self._number("attention.sliding_window", 0)
        pattern: Any = self._header.metadata.get(f"{self._header.architecture}.attention.sliding_window_pattern")
        flags = [bool(flag) for flag in pattern] if isinstance(pattern, Sequence) and not isinstance(pattern, str) else []
        period = PERIODS.get(self._header.architecture, 0)
        if len(flags) < self._count:
            flags = [period == 0 or index % period < period - 1 for index in range(self._count)]
        return [width if width and flags[index] else None for index in range(self._count)]

    def _state(self) -> int:
        """Bytes of a layer's recurrent state, per sequence: the convolution's rows and the state itself."""
        if head := self._number("wkv.head_size", 0):
            return (self._number("token_shift_count", 2) * self._embedding + self._embedding * head) * STATE_VALUE
        if rows := self._number("shortconv.l_cache", 0):
            return self._embedding * (rows - 1) * STATE_VALUE
        heads = max(self._each("attention.head_count", 0), default=0)
        if head := self._number("kda.head_dim", 0):
            kernel = self._number("ssm.conv_kernel", 4)
            return (3 * (kernel - 1) * heads * head + head * head * heads) * STATE_VALUE
        inner, state = self._number("ssm.inner_size", 0), self._number("ssm.state_size", 0)
        convolution = max(0, self._number("ssm.conv_kernel", 0) - 1) * (inner + 2 * self._number("ssm.group_count", 0) * state)
        return (convolution + state * inner) * STATE_VALUE

    # -- bytes -------------------------------------------------------------------------------------------------------

    def _weights(self) -> Weights:
        layers = [0] * self._count
        rest = self._extra
        embedding = output = 0
        for tensor in self._tensors:
            found = _BLOCK.fullmatch(tensor.name)
            if found and int(found[1]) < self._count:
                layers[int(found[1])] += tensor.size
            elif tensor.name == "token_embd.weight":
                embedding += tensor.size
            elif tensor.name == "output.weight":
                output += tensor.size
            else:
                rest += tensor.size
        repacked = sum(tensor.size for tensor in self._tensors if self._is_repacked(tensor))
        return Weights(layers=tuple(layers), embedding=embedding, output=output, rest=rest, repacked=repacked)

    def _is_repacked(self, tensor: Tensor) -> bool:
        """A table that tokens are looked up in stays as it is."""
        looked_up = tensor.name in _MATRICES - {"output.weight"}
        return tensor.type in REPACKED and len(tensor.shape) >= 2 and tensor.shape[1] % REPACKED_ROWS == 0 and not looked_up


def _elements(tensor: Tensor) -> int:
    product = 1
    for side in tensor.shape:
        product *= side
    return product
