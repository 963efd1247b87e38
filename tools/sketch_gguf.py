"""GGUF files with the tensors of real models and no bytes in them: sparse files that take kilobytes of disk, and load.

libllama reserves for them what it would for the real ones. Needs the `gguf` package of the test group.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np

import llama_wheel

VERSION = 1
"""Raise it when the models change: it is part of their file names."""
ALIGNMENT = 32
Type = gguf.GGMLQuantizationType
Tensors = dict[str, tuple[tuple[int, ...], Type]]
Q4, Q6, Q8, F16, F32 = Type.Q4_K, Type.Q6_K, Type.Q8_0, Type.F16, Type.F32

# architecture, width, feed-forward, layers, heads, KV heads, head width, vocabulary, type, what is special
MODELS: dict[str, tuple[str, int, int, int, int, int, int, int, Type, dict[str, Any]]] = {
    "llama2-7b": ("llama", 4096, 11008, 32, 32, 32, 128, 32000, Q4, {}),
    "llama3-8b": ("llama", 4096, 14336, 32, 32, 8, 128, 128256, Q4, {}),
    "llama3-8b-q8": ("llama", 4096, 14336, 32, 32, 8, 128, 128256, Q8, {}),
    "llama3-70b": ("llama", 8192, 28672, 80, 64, 8, 128, 128256, Q4, {}),
    "qwen3-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, F16, {"tied": True}),
    "qwen3-4b": ("qwen3", 2560, 9728, 36, 32, 8, 128, 151936, Q4, {"tied": True}),
    "qwen2.5-7b": ("qwen2", 3584, 18944, 28, 28, 4, 128, 152064, Q4, {}),
    "gemma3-12b": ("gemma3", 3840, 15360, 48, 16, 8, 256, 262208, Q4, {"tied": True, "window": 1024}),
    "qwen3-30b-a3b": ("qwen3moe", 2048, 6144, 48, 32, 4, 128, 151936, Q4, {"experts": 128, "used": 8, "width": 768}),
    "mixtral-8x7b": ("llama", 4096, 14336, 32, 32, 8, 128, 32000, Q4, {"experts": 8, "used": 2, "width": 14336}),
}


def ensure(name: str) -> Path:
    """The file of a model, made if it is not there."""
    target = llama_wheel.CACHE / "models" / f"sketch-{name}-v{VERSION}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        _write(name, partial)
        os.replace(partial, target)
    return target


def _write(name: str, path: Path) -> None:
    architecture, wide, feed_forward, layers, heads, kv_heads, head, vocabulary, _, special = MODELS[name]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(131072)
    writer.add_embedding_length(wide)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("no_vocab")
    if "window" in special:
        writer.add_sliding_window(special["window"])
    if "experts" in special:
        writer.add_expert_count(special["experts"])
        writer.add_expert_used_count(special["used"])
        writer.add_expert_feed_forward_length(special["width"])
    tensors = _tensors(name)
    for tensor, (shape, kind) in tensors.items():
        if kind in (F16, F32):
            writer.add_tensor_info(tensor, shape, np.dtype(np.float16 if kind is F16 else np.float32), _size(shape, kind))
        else:
            shape_in_bytes = gguf.quant_shape_to_byte_shape(shape, kind)
            writer.add_tensor_info(tensor, shape_in_bytes, np.dtype(np.uint8), _size(shape, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    total = sum(-(-_size(*tensor) // ALIGNMENT) * ALIGNMENT for tensor in tensors.values())
    os.truncate(path, -(-path.stat().st_size // ALIGNMENT) * ALIGNMENT + total)


def _tensors(name: str) -> Tensors:
    architecture, wide, feed_forward, layers, heads, kv_heads, head, vocabulary, kind, special = MODELS[name]
    table = Q6 if kind is Q4 else kind
    found: Tensors = {"token_embd.weight": ((vocabulary, wide), table), "output_norm.weight": ((wide,), F32)}
    if not special.get("tied"):
        found["output.weight"] = ((vocabulary, wide), table)
    for index in range(layers):
        block: Tensors = {
            "attn_norm": ((wide,), F32), "ffn_norm": ((wide,), F32), "attn_output": ((wide, heads * head), kind),
            "attn_q": ((heads * head, wide), kind), "attn_k": ((kv_heads * head, wide), kind), "attn_v": ((kv_heads * head, wide), kind),
        }  # fmt: skip
        if architecture.startswith(("qwen3", "gemma3")):
            block |= {"attn_q_norm": ((head,), F32), "attn_k_norm": ((head,), F32)}
        if architecture == "gemma3":
            block |= {"post_attention_norm": ((wide,), F32), "post_ffw_norm": ((wide,), F32)}
        if experts := special.get("experts"):
            width = special["width"]
            block |= {"ffn_gate_inp": ((experts, wide), F32), "ffn_gate_exps": ((experts, width, wide), kind)}
            block |= {"ffn_up_exps": ((experts, width, wide), kind), "ffn_down_exps": ((experts, wide, width), kind)}
        else:
            block |= {
                "ffn_gate": ((feed_forward, wide), kind),
                "ffn_up": ((feed_forward, wide), kind),
                "ffn_down": ((wide, feed_forward), kind),
            }
        found |= {f"blk.{index}.{part}.weight": entry for part, entry in block.items()}
        if architecture == "qwen2":
            widths = {"q": heads * head, "k": kv_heads * head, "v": kv_heads * head}
            found |= {f"blk.{index}.attn_{part}.bias": ((width,), F32) for part, width in widths.items()}
    return found


def _size(shape: tuple[int, ...], kind: Type) -> int:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // elements * size
