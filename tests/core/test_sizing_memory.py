"""The arithmetic: what grows with what, what never shrinks below nothing, and where each byte lies."""

from __future__ import annotations

from dataclasses import replace

import model_shapes as models
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core.sizing import llama_cpp, vllm
from vllama_core.sizing.llama_cpp import Settings
from vllama_core.sizing.requantize import quantized
from vllama_core.sizing.shape import MIB, ModelShape

DENSE = models.gguf(models.LLAMA3_8B, types=models.q4_k_m(32))
TIED = models.gguf(models.QWEN3_06B, types=models.q4_k_m(28), architecture="qwen3", tied=True)
MIXTURE = models.gguf(models.MIXTRAL, types=models.q4_0_of_experts)
WINDOWED = models.gguf(
    models.config(640, 2048, 18, 4, 1, 262144, head=256), types=models.q4_0, architecture="gemma3", tied=True,
    **{"attention.sliding_window": 512},
)  # fmt: skip
HYBRID = models.gguf(
    models.config(5120, 17408, 8, 24, 4, 248320, head=256), types=models.q4_k_m(8), architecture="qwen35",
    recurrent=lambda layer: layer % 4 != 3, **{"ssm.inner_size": 6144, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.conv_kernel": 4},
)  # fmt: skip
LATENT = models.hugging_face(models.DEEPSEEK_V2_LITE)
SHAPES = st.sampled_from([DENSE, TIED, MIXTURE, WINDOWED, HYBRID, LATENT])
SETTINGS = st.builds(
    Settings,
    context=st.integers(1, 1 << 20),
    cells=st.integers(1, 1 << 20),
    parallel=st.integers(1, 256),
    ubatch=st.integers(1, 4096),
    cache_type_k=st.sampled_from(sorted(llama_cpp.CACHE_TYPE_BYTES)),
    flash_attention=st.booleans(),
    gpu_layers=st.integers(0, 80),
)


@given(SHAPES, SETTINGS, st.integers(0, 1 << 18))
def test_more_cells_never_take_less(shape: ModelShape, settings: Settings, more: int) -> None:
    wider = replace(settings, cells=settings.cells + more)
    assert llama_cpp.estimate(shape, wider).total >= llama_cpp.estimate(shape, settings).total


@given(SHAPES, SETTINGS, st.integers(0, 200))
def test_more_sequences_never_take_less(shape: ModelShape, settings: Settings, more: int) -> None:
    wider = replace(settings, parallel=settings.parallel + more)
    assert llama_cpp.estimate(shape, wider).total >= llama_cpp.estimate(shape, settings).total


@given(SHAPES, SETTINGS)
def test_no_part_is_ever_negative(shape: ModelShape, settings: Settings) -> None:
    assert all(part.host >= 0 and part.device >= 0 for part in llama_cpp.estimate(shape, settings).parts)


@given(SHAPES, SETTINGS)
def test_layers_on_a_gpu_are_not_in_the_machines_memory_too(shape: ModelShape, settings: Settings) -> None:
    """But a table of tokens that is used for the output as well."""
    parts = {part.name: part for part in llama_cpp.estimate(shape, settings).parts}
    twice = shape.weights.embedding if settings.gpu_layers > len(shape.layers) and not shape.weights.output else 0
    assert parts["weights"].host + parts["weights"].device == shape.weights.total + twice


@given(SHAPES, st.integers(1, 1 << 20), st.integers(0, 1 << 18), st.integers(1, 1024), st.sampled_from([1, 2, 4, 8]))
def test_a_longer_request_never_takes_less_in_vllm(shape: ModelShape, context: int, more: int, sequences: int, gpus: int) -> None:
    settings = vllm.Settings(context=context, sequences=sequences, tensor_parallel=gpus)
    longer = replace(settings, context=context + more)
    assert vllm.request_bytes(shape, longer) >= vllm.request_bytes(shape, settings) > 0
    assert vllm.activation_bytes(shape, replace(settings, sequences=sequences + more)) >= vllm.activation_bytes(shape, settings)


@pytest.mark.parametrize(
    ("shape", "cache_type", "mebibytes"),
    [(DENSE, "f16", 1024), (DENSE, "q8_0", 544), (TIED, "f16", 896), (WINDOWED, "f16", 144), (HYBRID, "f16", 64)],
)
def test_the_pool_is_counted_to_the_byte(shape: ModelShape, cache_type: str, mebibytes: int) -> None:
    """Windowed layers keep all cells in llama.cpp here, and recurrent ones none."""
    settings = Settings(context=8192, cells=8192, parallel=1, cache_type_k=cache_type, cache_type_v=cache_type)
    assert llama_cpp.kv_bytes(shape, settings) == mebibytes * MIB


def test_a_window_saves_memory_in_vllm_and_none_in_llama_cpp() -> None:
    full = replace(WINDOWED, layers=tuple(replace(layer, window=None) for layer in WINDOWED.layers))
    settings = Settings(context=65536, cells=65536, parallel=4)
    assert llama_cpp.kv_bytes(WINDOWED, settings) == llama_cpp.kv_bytes(full, settings)
    ours = vllm.Settings(context=65536, sequences=4)
    assert vllm.request_bytes(WINDOWED, ours) < vllm.request_bytes(full, ours) / 3


def test_states_grow_with_sequences_and_not_with_cells() -> None:
    one = llama_cpp.estimate(HYBRID, Settings(context=8192, cells=8192, parallel=1)).of("recurrent states")
    many = llama_cpp.estimate(HYBRID, Settings(context=8192, cells=65536, parallel=64)).of("recurrent states")
    assert many == llama_cpp.RECURRENT_SEQUENCES * one


def test_a_latent_vector_is_on_every_gpu_and_heads_are_shared_out() -> None:
    def on(shape: ModelShape, gpus: int) -> int:
        return vllm.token_bytes(shape.layers[0], vllm.Settings(context=1, sequences=1, tensor_parallel=gpus))

    assert on(LATENT, 8) == on(LATENT, 1) == 576 * 2
    assert [on(DENSE, gpus) for gpus in (1, 2, 8, 16)] == [4096, 2048, 512, 512]


def test_another_quantization_is_estimated_by_its_bits() -> None:
    real = models.gguf(models.LLAMA3_8B, types=lambda name, layer: "Q8_0")
    assert quantized(DENSE, "Q8_0").weights.total == pytest.approx(real.weights.total, rel=0.01)
    assert quantized(real, "Q4_K_M").weights.total == pytest.approx(DENSE.weights.total, rel=0.01)
