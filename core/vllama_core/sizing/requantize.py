"""The same model in another quantization, by bits per weight: exact files are not at hand for that, the answer is off by a few percent."""

from __future__ import annotations

from dataclasses import replace

from vllama_core import quantization_names
from vllama_core.sizing.shape import ModelShape

REPACKED = ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4")
"""Quantizations most of whose tensors llama.cpp lays out anew for the CPU."""


def bits(shape: ModelShape) -> float:
    """Bits per weight that its files really have."""
    return shape.weights.total * 8 / max(1, shape.parameters)


def quantized(shape: ModelShape, name: str) -> ModelShape:
    """A shape as it would be in llama.cpp's quantization of this name, such as ``Q4_K_M``."""
    weights = shape.weights.scaled(quantization_names.bits(name) / max(bits(shape), 1e-9))
    repacked = sum(weights.layers) if name.startswith(REPACKED) else 0
    return replace(shape, weights=replace(weights, repacked=repacked), quantization=name)
