"""A random Llama of about 1 GB in Q8_0: what loading costs depends on bytes and shapes, not on what the weights say.

One layer's bytes are drawn and written for all layers, so that making it takes seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from bench import places

VERSION = 1
"""Raise it when the model changes: it is part of the file's name."""
WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 2048, 20, 32, 4, 5632, 4096
HEAD = WIDTH // HEADS
BLOCK = 32
"""Values of a Q8_0 block: a 16-bit scale, then 32 signed bytes."""
Bytes = npt.NDArray[np.uint8]


def ensure() -> Path:
    """The file, made if it is not there."""
    target = places.CACHE / "models" / f"random-1gb-v{VERSION}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        _write(partial)
        os.replace(partial, target)
    return target


def _write(path: Path) -> None:
    import llama_sdist
    import tiny_gguf

    writer = gguf.GGUFWriter(path, "llama")
    vocab_size = tiny_gguf._copy_vocabulary(llama_sdist.llama_cpp() / "models" / "ggml-vocab-llama-spm.gguf", writer)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    random = np.random.default_rng(7)
    weights = {
        "attn_q": _matrix(random, WIDTH, WIDTH),
        "attn_k": _matrix(random, KV_HEADS * HEAD, WIDTH),
        "attn_v": _matrix(random, KV_HEADS * HEAD, WIDTH),
        "attn_output": _matrix(random, WIDTH, WIDTH),
        "ffn_gate": _matrix(random, FEED_FORWARD, WIDTH),
        "ffn_up": _matrix(random, FEED_FORWARD, WIDTH),
        "ffn_down": _matrix(random, WIDTH, FEED_FORWARD),
    }
    embedding = _matrix(random, vocab_size, WIDTH)
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", embedding, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name, matrix in weights.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrix(random: np.random.Generator, rows: int, columns: int) -> Bytes:
    """Blocks of random bytes under a scale that keeps the activations near 1."""
    blocks = np.empty((rows, columns // BLOCK, 2 + BLOCK), np.uint8)
    scale = np.float16(1 / (73 * np.sqrt(columns)))  # 73: the standard deviation of a uniform signed byte
    blocks[:, :, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[:, :, 2:] = random.integers(0, 256, (rows, columns // BLOCK, BLOCK), np.uint8)
    return blocks.reshape(rows, -1)
