"""A model in Hugging Face's format, described in GGUF's terms, so that lists and APIs read one kind of header. Pure.

Ollama shows the safetensors models that it has in the same terms: https://github.com/ollama/ollama/blob/main/x/server/show.go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllama_core.gguf import GgufHeader, Tensor
from vllama_core.safetensors import SafetensorsHeader
from vllama_core.sizing import hf_shape

NUMBERS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "expert_used_count": "num_experts_per_tok",
    "vocab_size": "vocab_size",
}
"""GGUF's key behind the architecture: the key of `config.json`."""
DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of chat templates: the one of every chat, and the one of chats with tools where a model has one of its own for them."""
TEMPLATES = {DEFAULT: "tokenizer.chat_template", TOOL_USE: f"tokenizer.chat_template.{TOOL_USE}"}


def described(config: Mapping[str, Any], headers: Sequence[SafetensorsHeader], *, templates: Mapping[str, str] | None = None) -> GgufHeader:
    """A header as a GGUF file of this model would have it.

    :param config: `config.json`; of a model that also sees or hears, what its `text_config` says counts.
    :param headers: of all files with weights.
    :param templates: chat templates by name, from wherever they stand.
    """
    inner = config.get("text_config")
    text = inner if isinstance(inner, Mapping) else config
    architecture = str(config.get("model_type") or text.get("model_type") or "")
    numbers = {f"{architecture}.{key}": text[name] for key, name in NUMBERS.items() if type(text.get(name)) is int}
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "general.file_type": hf_shape.quantization_of(config, headers),
        "general.parameter_count": sum(header.parameter_count for header in headers),
        **numbers,
        **{TEMPLATES[name]: text for name, text in (templates or {}).items() if name in TEMPLATES},
    }
    return GgufHeader(version=0, metadata=metadata, tensors=tuple(_tensors(headers)), data_start=0)


def templates_of(tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates of a `tokenizer_config.json`, by name: one text is the default one.

    https://huggingface.co/docs/transformers/chat_templating_writing
    """
    said = tokenizer_config.get("chat_template")
    if isinstance(said, str):
        return {DEFAULT: said} if said else {}
    if not isinstance(said, Sequence):
        return {}
    named = {entry.get("name"): entry.get("template") for entry in said if isinstance(entry, Mapping)}
    return {name: text for name, text in named.items() if isinstance(name, str) and isinstance(text, str)}


def _tensors(headers: Sequence[SafetensorsHeader]) -> list[Tensor]:
    return [
        Tensor(name=name, shape=shape, type=header.types[name], offset=0, size=header.sizes[name])
        for header in headers
        for name, shape in header.shapes.items()
    ]
