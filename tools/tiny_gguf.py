"""Tiny random models with real vocabularies, for tests of architectures whose real models are gigabytes.

The vocabularies come from llama.cpp's source, which `llama_sdist` keeps; the models are made in a second and cached beside it. Needs
the `gguf` package of the test group.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

import llama_sdist
import llama_wheel

VERSION = 3
"""Raise it when the models change: it is part of their file names."""
EMBEDDING, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 64, 2, 4, 2, 128
HEAD = EMBEDDING // HEADS
CONTEXT = 4096
WINDOW = 32
"""Sliding window of the gemma3 model, in tokens: small, so that every test exceeds it."""
INNER, STATE, CONVOLUTION, STEP_RANK = 128, 16, 4, 4
SHORT_CONVOLUTION = 3

MARKERS = ("<|python_tag|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
RENAMED = {f"<|reserved_special_token_{number}|>": marker for number, marker in enumerate(MARKERS, 5)}
"""What the vocabulary of Llama 3 kept free; Llama 3.1 uses the first, models that were made of it the others, as control tokens."""

Tensors = dict[str, tuple[int, ...]]


def _attention_layer(b: str) -> Tensors:
    return {
        f"{b}.attn_norm.weight": (EMBEDDING,),
        f"{b}.attn_q.weight": (HEADS * HEAD, EMBEDDING),
        f"{b}.attn_k.weight": (KV_HEADS * HEAD, EMBEDDING),
        f"{b}.attn_v.weight": (KV_HEADS * HEAD, EMBEDDING),
        f"{b}.attn_output.weight": (EMBEDDING, HEADS * HEAD),
    }


def _feed_forward(b: str) -> Tensors:
    return {
        f"{b}.ffn_norm.weight": (EMBEDDING,),
        f"{b}.ffn_gate.weight": (FEED_FORWARD, EMBEDDING),
        f"{b}.ffn_up.weight": (FEED_FORWARD, EMBEDDING),
        f"{b}.ffn_down.weight": (EMBEDDING, FEED_FORWARD),
    }


def _mamba_layer(b: str) -> Tensors:
    return {
        f"{b}.attn_norm.weight": (EMBEDDING,),
        f"{b}.ssm_in.weight": (2 * INNER, EMBEDDING),
        f"{b}.ssm_conv1d.weight": (INNER, CONVOLUTION),
        f"{b}.ssm_conv1d.bias": (INNER,),
        f"{b}.ssm_x.weight": (STEP_RANK + 2 * STATE, INNER),
        f"{b}.ssm_dt.weight": (INNER, STEP_RANK),
        f"{b}.ssm_dt.bias": (INNER,),
        f"{b}.ssm_a": (INNER, STATE),
        f"{b}.ssm_d": (INNER,),
        f"{b}.ssm_out.weight": (EMBEDDING, INNER),
    }


def _attention(*, qkv_bias: bool = False, gemma: bool = False) -> Tensors:
    shapes: Tensors = {}
    for i in range(LAYERS):
        b = f"blk.{i}"
        shapes |= _attention_layer(b) | _feed_forward(b)
        if qkv_bias:
            shapes |= {f"{b}.attn_{n}.bias": ((HEADS if n == "q" else KV_HEADS) * HEAD,) for n in "qkv"}
        if gemma:
            shapes |= {f"{b}.attn_{n}_norm.weight": (HEAD,) for n in "qk"}
            shapes |= {f"{b}.post_attention_norm.weight": (EMBEDDING,), f"{b}.post_ffw_norm.weight": (EMBEDDING,)}
    return shapes


def _mamba() -> Tensors:
    return {name: shape for i in range(LAYERS) for name, shape in _mamba_layer(f"blk.{i}").items()}


def _jamba() -> Tensors:
    """A recurrent layer, then one with attention."""
    norms = {"blk.0.ssm_dt_norm.weight": (STEP_RANK,), "blk.0.ssm_b_norm.weight": (STATE,), "blk.0.ssm_c_norm.weight": (STATE,)}
    return _mamba_layer("blk.0") | norms | _feed_forward("blk.0") | _attention_layer("blk.1") | _feed_forward("blk.1")


def _lfm2() -> Tensors:
    """A short convolution, whose state is a few tokens, then a layer with attention."""
    convolution: Tensors = {
        "blk.0.attn_norm.weight": (EMBEDDING,),
        "blk.0.shortconv.conv.weight": (EMBEDDING, SHORT_CONVOLUTION),
        "blk.0.shortconv.in_proj.weight": (3 * EMBEDDING, EMBEDDING),
        "blk.0.shortconv.out_proj.weight": (EMBEDDING, EMBEDDING),
    }
    norms: Tensors = {"token_embd_norm.weight": (EMBEDDING,), **{f"blk.1.attn_{n}_norm.weight": (HEAD,) for n in "qk"}}
    return convolution | _feed_forward("blk.0") | _attention_layer("blk.1") | _feed_forward("blk.1") | norms


def _attention_keys(w: gguf.GGUFWriter) -> None:
    w.add_feed_forward_length(FEED_FORWARD)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD)
    w.add_value_length(HEAD)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)


def _gemma_keys(w: gguf.GGUFWriter) -> None:
    _attention_keys(w)
    w.add_sliding_window(WINDOW)


def _mamba_keys(w: gguf.GGUFWriter) -> None:
    w.add_feed_forward_length(0)
    w.add_head_count(0)
    w.add_ssm_conv_kernel(CONVOLUTION)
    w.add_ssm_inner_size(INNER)
    w.add_ssm_state_size(STATE)
    w.add_ssm_time_step_rank(STEP_RANK)
    w.add_layer_norm_rms_eps(1e-6)


def _hybrid_keys(w: gguf.GGUFWriter) -> None:
    """Which layer is recurrent stands in the number of its KV heads."""
    w.add_feed_forward_length(FEED_FORWARD)
    w.add_head_count(HEADS)
    w.add_head_count_kv([0, KV_HEADS])
    w.add_layer_norm_rms_eps(1e-6)


def _jamba_keys(w: gguf.GGUFWriter) -> None:
    _hybrid_keys(w)
    w.add_ssm_conv_kernel(CONVOLUTION)
    w.add_ssm_inner_size(INNER)
    w.add_ssm_state_size(STATE)
    w.add_ssm_time_step_rank(STEP_RANK)


def _lfm2_keys(w: gguf.GGUFWriter) -> None:
    _hybrid_keys(w)
    w.add_shortconv_l_cache(SHORT_CONVOLUTION)
    w.add_rope_freq_base(10000.0)


MODELS: dict[str, tuple[str, Tensors, Callable[[gguf.GGUFWriter], None]]] = {
    "llama": ("llama-spm", _attention(), _attention_keys),
    "llama-3.1": ("llama-bpe", _attention(), _attention_keys),
    "qwen2": ("qwen2", _attention(qkv_bias=True), _attention_keys),
    "gemma3": ("llama-spm", _attention(gemma=True), _gemma_keys),
    "mamba": ("gpt-neox", _mamba(), _mamba_keys),
    "jamba": ("llama-spm", _jamba(), _jamba_keys),
    "lfm2": ("llama-spm", _lfm2(), _lfm2_keys),
}
"""Architecture, and behind a hyphen what tells two of one architecture apart: (vocabulary, tensors, metadata)."""


def ensure(architecture: str) -> Path:
    """The GGUF file of a tiny model, made if it is not there."""
    target = llama_wheel.CACHE / "models" / f"tiny-{architecture}-v{VERSION}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        _write(architecture, partial)
        os.replace(partial, target)
    return target


def ensure_split(architecture: str) -> Path:
    """A folder with the same model in several files, made if it is not there."""
    target = llama_wheel.CACHE / "models" / f"tiny-{architecture}-split-v{VERSION}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        _write(architecture, partial / "split.gguf", tensors_per_file=8)
        os.replace(partial, target)
    return target


def _write(architecture: str, path: Path, *, tensors_per_file: int = 0) -> None:
    vocabulary, shapes, add_keys = MODELS[architecture]
    writer = gguf.GGUFWriter(path, architecture.partition("-")[0], split_max_tensors=tensors_per_file)
    vocab_size = _copy_vocabulary(llama_sdist.llama_cpp() / "models" / f"ggml-vocab-{vocabulary}.gguf", writer)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_keys(writer)
    random = np.random.default_rng(7)
    norm: Tensors = {} if "token_embd_norm.weight" in shapes else {"output_norm.weight": (EMBEDDING,)}
    everything: Tensors = {"token_embd.weight": (vocab_size, EMBEDDING), **norm, **shapes}
    for name, shape in everything.items():
        writer.add_tensor(name, _values(random, name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _values(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    if name.endswith("ssm_a"):
        return -np.abs(random.normal(1, 0.3, shape)).astype(np.float32)
    if len(shape) == 1:
        return (1 if "norm" in name else 0) + random.normal(0, 0.1, shape).astype(np.float32)
    return random.normal(0, 0.25, shape).astype(np.float32)


def _copy_vocabulary(source: Path, writer: gguf.GGUFWriter) -> int:
    reader = gguf.GGUFReader(source)
    for key, field in reader.fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            value = field.contents()
            if key == "tokenizer.ggml.tokens":
                value = [RENAMED.get(token, token) for token in value]
            writer.add_key_value(key, value, kind, field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None)
    return len(reader.fields["tokenizer.ggml.tokens"].data)


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        print(ensure(name))
