"""Models in Hugging Face's format of some hundred bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "vocab_size": 4,
}
SHAPES = {"model.embed_tokens.weight": (4, 8), "model.layers.0.mlp.up_proj.weight": (16, 8), "model.norm.weight": (8,)}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def safetensors(shapes: dict[str, tuple[int, ...]] | None = None) -> bytes:
    """A file of zeros in BF16."""
    entries, at = {}, 0
    for name, shape in (shapes or SHAPES).items():
        end = at + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    head = json.dumps(entries).encode()
    return len(head).to_bytes(8, "little") + head + bytes(at)


def files(**config: Any) -> dict[str, bytes]:
    """A whole model, by file name.

    :param config: what its config.json says beside or instead of `CONFIG`.
    """
    return {
        "config.json": json.dumps(CONFIG | config).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": TEMPLATE}).encode(),
    }


def write(folder: Path, **config: Any) -> Path:
    """The same in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(**config).items():
        (folder / name).write_bytes(content)
    return folder
