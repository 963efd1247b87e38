"""In which form a model's files are: the one thing about them that decides which engine can load them. Pure."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """As `pull --format` and `spec.model.format` take them."""

    GGUF = "gguf"
    """One file, or the files of a split set: llama.cpp's."""
    HUGGING_FACE = "hf"
    """A folder with config.json, safetensors and the tokenizer's files, as its makers published it: vLLM's and MLX's."""
