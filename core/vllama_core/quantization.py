"""The quantizations that this version makes, and the steps that lead to each. Pure.

Numbers of `enum llama_ftype`: https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h
"""

from __future__ import annotations

from dataclasses import dataclass

from vllama_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights are stored.

    :ivar name: as people write it and GGUF files show it.
    :ivar file_type: its number in `enum llama_ftype`.
    :ivar bits: bits per weight of the type that most tensors get; mixtures give some tensors a larger one.
    :ivar direct: what llama.cpp's converter calls it, if it writes the type itself; None: a 16-bit file comes first.
    """

    name: str
    file_type: int
    bits: float
    direct: str | None = None


TABLE = (
    Quantization("F32", 0, 32.0, "f32"),
    Quantization("F16", 1, 16.0, "f16"),
    Quantization("BF16", 32, 16.0, "bf16"),
    Quantization("Q8_0", 7, 8.5, "q8_0"),
    Quantization("Q6_K", 18, 6.5625),
    Quantization("Q5_K_M", 17, 5.5),
    Quantization("Q4_K_M", 15, 4.5),
)
"""Largest first. Q8_0 comes straight from the converter: by way of a 16-bit file it would need 1.5 times that file's size on disk."""
DEFAULT = "Q4_K_M"
_BY_NAME = {entry.name: entry for entry in TABLE}


def parse(text: str) -> Quantization:
    """The quantization of this name, in any case.

    :raises ConfigError: this version makes none of that name.
    """
    found = _BY_NAME.get(text.strip().upper())
    if found is None:
        raise ConfigError(f"quantization {text!r} cannot be made here; choose one of {', '.join(sorted(_BY_NAME))}")
    return found


def disk_needed(parameters: int, wanted: Quantization) -> int:
    """Most bytes on disk while a model of so many parameters is converted: the result, and the 16-bit file where one comes first.

    A mixture gives its largest tensors up to 8.5 bits; a tenth on top holds for it and for vocabularies.
    """
    first = 0.0 if wanted.direct else 16.0
    return int(parameters * (first + wanted.bits * 1.1) / 8)
