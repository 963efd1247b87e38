"""From a Hugging Face `config.json` and the headers of its safetensors files to a `ModelShape`.

https://huggingface.co/docs/transformers/main_classes/configuration
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vllama_core.errors import ConfigError
from vllama_core.safetensors import SafetensorsHeader
from vllama_core.sizing.shape import Layer, ModelShape, Weights

STATE_VALUE = 4
"""Bytes: vLLM keeps the states of linear attention in 32-bit floats."""
_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\..+")
_ENCODERS = ("vision", "visual", "audio", "multi_modal", "mm_projector")
_NAMES = {"BF16": "BF16", "F16": "F16", "F32": "F32", "F8_E4M3": "FP8", "F8_E5M2": "FP8", "I32": "INT4", "U8": "FP4", "I8": "INT8"}
_RECURRENT = frozenset({"linear_attention", "mamba", "conv"})
_WINDOWED = frozenset({"sliding_attention", "chunked_attention"})


def shape_of(config: Mapping[str, Any], headers: Sequence[SafetensorsHeader]) -> ModelShape:
    """The shape of a model.

    :param config: `config.json`.
    :param headers: of all files with weights.
    :raises ConfigError: the configuration lacks what every model's has.
    """
    text = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
    assert isinstance(text, Mapping)
    count, embedding = _number(text, "num_hidden_layers"), _number(text, "hidden_size")
    heads = _number(text, "num_attention_heads", 0)
    head = _number(text, "head_dim", embedding // heads if heads else 0)
    experts = _first(text, ("num_experts_per_tok", "num_experts_per_token", "moe_topk"))
    feed_forward = _first(text, ("intermediate_size", "ffn_hidden_size"))
    architectures = config.get("architectures")
    return ModelShape(
        architecture=str(architectures[0]) if isinstance(architectures, Sequence) and architectures else str(config.get("model_type", "")),
        parameters=sum(header.parameter_count for header in headers),
        context=_number(text, "max_position_embeddings", 0) or None,
        vocabulary=_number(text, "vocab_size"),
        embedding=embedding,
        feed_forward=feed_forward,
        heads=heads,
        query=heads * head,
        inner=_number(text, "linear_num_value_heads", 0) * _number(text, "linear_value_head_dim", 0),
        experts=experts,
        expert_width=_number(text, "moe_intermediate_size", feed_forward) if experts else 0,
        layers=tuple(_layer(text, kind, heads=heads, head=head) for kind in _kinds(text, count)),
        weights=_weights(headers, count),
        quantization=quantization_of(config, headers),
    )


def _number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if type(value) is not int or value < 0:
        raise ConfigError(f"its config.json has no usable {key}: {value!r}")
    return value


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((_number(config, key) for key in keys if config.get(key) is not None), 0)


def _kinds(config: Mapping[str, Any], count: int) -> list[str]:
    """What each layer is, in the words of `layer_types`; where they are not said, they follow from older keys."""
    said = config.get("layer_types")
    if isinstance(said, Sequence) and not isinstance(said, str) and len(said) >= count:
        return [str(kind) for kind in said[:count]]
    if interval := _number(config, "full_attention_interval", 0):
        return ["full_attention" if (index + 1) % interval == 0 else "linear_attention" for index in range(count)]
    if _number(config, "sliding_window", 0) and config.get("use_sliding_window", True):
        pattern = _number(config, "sliding_window_pattern", 0)
        return ["full_attention" if pattern and (index + 1) % pattern == 0 else "sliding_attention" for index in range(count)]
    return ["full_attention"] * count


def _layer(config: Mapping[str, Any], kind: str, *, heads: int, head: int) -> Layer:
    if kind in _RECURRENT:
        return Layer(state=_state(config))
    window = _number(config, "sliding_window", 0) or None if kind in _WINDOWED else None
    if latent := _number(config, "kv_lora_rank", 0):
        return Layer(kv_heads=1, key=latent + _number(config, "qk_rope_head_dim", 0), window=window)
    return Layer(kv_heads=_number(config, "num_key_value_heads", heads), key=head, value=head, window=window)


def _state(config: Mapping[str, Any]) -> int:
    """Of Gated DeltaNet (Qwen3-Next and later); what names its widths otherwise counts as a Mamba-2 layer, or as nothing."""
    values = _number(config, "linear_num_value_heads", _number(config, "mamba_n_heads", 0))
    width = _number(config, "linear_value_head_dim", _number(config, "mamba_d_head", 0))
    key = _number(config, "linear_key_head_dim", _number(config, "mamba_d_state", 0))
    channels = 2 * _number(config, "linear_num_key_heads", _number(config, "mamba_n_groups", 0)) * key + values * width
    kernel = _number(config, "linear_conv_kernel_dim", _number(config, "mamba_d_conv", 0))
    return (values * width * key + max(0, kernel - 1) * channels) * STATE_VALUE


def _weights(headers: Sequence[SafetensorsHeader], count: int) -> Weights:
    layers = [0] * count
    embedding = output = rest = 0
    for header in headers:
        for name, size in header.sizes.items():
            found = _LAYER.fullmatch(name)
            if found and int(found[1]) < count and not any(word in name for word in _ENCODERS):
                layers[int(found[1])] += size
            elif name.endswith("embed_tokens.weight"):
                embedding += size
            elif name.endswith("lm_head.weight"):
                output += size
            else:
                rest += size
    return Weights(layers=tuple(layers), embedding=embedding, output=output, rest=rest)


def quantization_of(config: Mapping[str, Any], headers: Sequence[SafetensorsHeader]) -> str:
    """The method that the configuration names, else the type that most bytes have."""
    method = config.get("quantization_config")
    if isinstance(method, Mapping) and isinstance(method.get("quant_method"), str):
        return str(method["quant_method"]).upper()
    by_type: dict[str, int] = {}
    for header in headers:
        for name, size in header.sizes.items():
            by_type[header.types[name]] = by_type.get(header.types[name], 0) + size
    most = max(by_type, key=lambda name: by_type[name], default="")
    return _NAMES.get(most, most or "unknown")
