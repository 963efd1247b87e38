"""From headers to shapes: attention of every kind, states, windows, and headers that lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import model_shapes as models
import pytest

from vllama_core.errors import ConfigError
from vllama_core.gguf import GgufError, GgufHeader, Tensor
from vllama_core.safetensors import SafetensorsHeader
from vllama_core.sizing import gguf_shape, hf_shape
from vllama_core.sizing.shape import Layer, ModelShape

F16 = lambda name, layer: "F16"  # noqa: E731 - a table in one line


def kept(shape: ModelShape) -> list[tuple[int, int, int]]:
    return [(layer.kv_heads, layer.key, layer.value) for layer in shape.layers]


def test_grouped_heads_keep_the_few_keys_that_they_share() -> None:
    shape = models.gguf(models.LLAMA3_8B, types=models.q4_k_m(32))
    assert kept(shape) == [(8, 128, 128)] * 32
    assert (shape.vocabulary, shape.query, shape.context) == (128256, 4096, 131072)
    assert shape.weights.total == pytest.approx(4.58 * (1 << 30), rel=0.005)


def test_the_format_does_not_change_what_a_model_keeps() -> None:
    assert models.gguf(models.QWEN3_4B, types=F16, architecture="qwen3").layers == models.hugging_face(models.QWEN3_4B).layers


def test_latent_attention_keeps_one_vector_for_all_heads() -> None:
    config = models.config(2048, 10944, 27, 16, 1, 102400, head=576)
    shape = models.gguf(config, types=F16, architecture="deepseek2", **{"attention.key_length_mla": 192})
    assert set(kept(shape)) == {(1, 576, 0)} == set(kept(models.hugging_face(models.DEEPSEEK_V2_LITE)))
    assert shape.layers[0].latent


@pytest.mark.parametrize(
    ("architecture", "metadata", "windows"),
    [
        ("gemma3", {}, [1024] * 5 + [None] + [1024]),
        ("gemma2", {}, [1024, None] * 3 + [1024]),
        ("phi3", {}, [1024] * 7),
        ("any", {"attention.sliding_window_pattern": [True, False, True, False, True, False, True]}, [1024, None] * 3 + [1024]),
    ],
)
def test_windows_are_as_the_file_or_its_architecture_says(architecture: str, metadata: dict[str, Any], windows: list[int | None]) -> None:
    config = models.config(640, 2048, 7, 4, 1, 1000, head=256)
    shape = models.gguf(config, types=F16, architecture=architecture, **{"attention.sliding_window": 1024, **metadata})
    assert [layer.window for layer in shape.layers] == windows


def test_a_hybrid_models_states_are_read_off_its_tensors() -> None:
    config = models.config(5120, 17408, 8, 24, 4, 1000, head=256)
    keys = {"ssm.inner_size": 6144, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.conv_kernel": 4}
    shape = models.gguf(config, types=F16, architecture="qwen35", recurrent=lambda layer: layer % 4 != 3, **keys)
    state = Layer(state=(3 * (6144 + 2 * 16 * 128) + 128 * 6144) * 4)
    attention = Layer(kv_heads=4, key=256, value=256)
    assert list(shape.layers) == [state, state, state, attention] * 2
    assert shape.recurrent


def test_layers_that_share_keys_or_predict_ahead_keep_none() -> None:
    config = models.config(640, 2048, 6, 4, 1, 1000, head=256)
    shared = models.gguf(config, types=F16, architecture="gemma3n", **{"attention.shared_kv_layers": 2})
    ahead = models.gguf(config, types=F16, architecture="glm4moe", **{"nextn_predict_layers": 1})
    assert [layer.kv_heads for layer in shared.layers] == [1, 1, 1, 1, 0, 0]
    assert [layer.kv_heads for layer in ahead.layers] == [1, 1, 1, 1, 1, 0]


def test_a_split_set_is_one_model_and_a_projector_beside_it_only_weighs() -> None:
    whole = models.header(models.QWEN3_06B, types=F16, architecture="qwen3")
    first, second = replace(whole, tensors=whole.tensors[:100]), replace(whole, metadata={}, tensors=whole.tensors[100:])
    projector = GgufHeader(3, {"general.architecture": "clip"}, (Tensor("v.patch_embd.weight", (512,), "F16", 0, 1024),), 0)
    shape = gguf_shape.shape_of([whole])
    split = gguf_shape.shape_of([first, second, projector])
    assert split.layers == shape.layers
    assert split.parameters == shape.parameters
    assert split.weights.total == shape.weights.total + 1024


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"block_count": "many"}, "block_count"),
        ({"block_count": -3}, "block_count"),
        ({"embedding_length": None}, "embedding_length"),
        ({"attention.head_count": [4]}, "head_count"),
        ({"attention.head_count_kv": [1, -1]}, "head_count_kv"),
        ({"attention.head_count_kv": "eight"}, "head_count_kv"),
    ],
)
def test_a_header_that_cannot_be_used_is_told_by_its_key(metadata: dict[str, Any], names: str) -> None:
    config = models.config(640, 2048, 2, 4, 1, 1000, head=256)
    with pytest.raises(GgufError, match=names):
        models.gguf(config, types=F16, **metadata)


def test_a_file_without_a_vocabulary_holds_no_language_model() -> None:
    header = models.header(models.QWEN3_06B, types=F16, architecture="qwen3")
    with pytest.raises(GgufError, match="token_embd"):
        gguf_shape.shape_of([replace(header, tensors=header.tensors[1:])])


def empty() -> SafetensorsHeader:
    return SafetensorsHeader(shapes={}, data_end=0, types={}, sizes={})


def test_older_configurations_say_windows_by_a_pattern() -> None:
    config = models.config(640, 2048, 6, 4, 1, 1000, head=256, sliding_window=512, sliding_window_pattern=3)
    assert [layer.window for layer in hf_shape.shape_of(config, [empty()]).layers] == [512, 512, None] * 2
    off = hf_shape.shape_of(config | {"use_sliding_window": False}, [empty()])
    assert {layer.window for layer in off.layers} == {None}


def test_linear_attention_of_a_configuration_has_a_state() -> None:
    linear = {"linear_num_value_heads": 48, "linear_value_head_dim": 128, "linear_key_head_dim": 128, "linear_num_key_heads": 16}
    config = models.config(5120, 17408, 4, 24, 4, 1000, head=256, full_attention_interval=4, linear_conv_kernel_dim=4, **linear)
    shape = hf_shape.shape_of(config, [empty()])
    assert [bool(layer.state) for layer in shape.layers] == [True, True, True, False]
    assert shape.layers[0].state == (3 * (6144 + 2 * 16 * 128) + 128 * 6144) * 4


def test_a_model_that_sees_is_sized_by_its_text_part() -> None:
    inner = models.config(640, 2048, 2, 4, 1, 1000, head=256)
    shape = hf_shape.shape_of({"architectures": ["SeesForConditionalGeneration"], "text_config": inner}, [empty()])
    assert (shape.architecture, len(shape.layers)) == ("SeesForConditionalGeneration", 2)


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "vocab_size"])
def test_a_configuration_without_its_sizes_is_told_by_its_key(key: str) -> None:
    config = {name: value for name, value in models.QWEN3_4B.items() if name != key}
    with pytest.raises(ConfigError, match=key):
        hf_shape.shape_of(config, [empty()])
