"""What the engine says about a model's needs before it makes a context."""

from __future__ import annotations

import pytest

import tiny_gguf
from vllama_agent.engines.llama_cpp import lib
from vllama_core.config import LlamaCppConfig

BYTES = 2 * 2
"""A key and a value of 16 bits."""


@pytest.mark.parametrize(
    ("architecture", "heads"), [("llama", tiny_gguf.KV_HEADS), ("jamba", tiny_gguf.HEADS), ("lfm2", tiny_gguf.HEADS), ("mamba", 1)]
)
def test_a_cell_is_never_larger_than_it_is_counted(architecture: str, heads: int) -> None:
    """A hybrid model's first layer has no KV heads, so all heads are counted for it."""
    lib.start(lambda _line: None)
    model = lib.Model((tiny_gguf.ensure(architecture),), LlamaCppConfig(), vocab_only=False)
    try:
        width = tiny_gguf.HEAD if architecture != "mamba" else tiny_gguf.EMBEDDING
        assert model.kv_bytes_per_cell(LlamaCppConfig()) == heads * width * BYTES * tiny_gguf.LAYERS
    finally:
        model.close()
