"""What is chosen for which memory, and why."""

from __future__ import annotations

from dataclasses import replace

import model_shapes as models
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllama_core.sizing import choice, llama_cpp, vllm
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.choice import Wanted
from vllama_core.sizing.shape import GIB, MIB, ModelShape

DEMO = models.gguf(
    models.config(640, 2048, 18, 4, 1, 262144, head=256, context=32768), types=lambda name, layer: "Q6_K", architecture="gemma3", tied=True,
    **{"attention.sliding_window": 512},
)  # fmt: skip
LLAMA3_8B = models.gguf(models.LLAMA3_8B, types=models.q4_k_m(32))
LLAMA3_70B = models.gguf(models.LLAMA3_70B, types=models.q4_k_m(80))
SHORT = models.gguf(models.config(640, 2048, 18, 4, 1, 1000, head=256, context=512), types=models.q4_0)
HYBRID = models.gguf(
    models.config(5120, 17408, 64, 24, 4, 248320, head=256), types=models.q4_k_m(64), architecture="qwen35",
    recurrent=lambda layer: layer % 4 != 3, **{"ssm.inner_size": 6144, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.conv_kernel": 4},
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "memory", "expected"),
    [
        (DEMO, 24 * GIB, (8192, 64, 32768)),
        (DEMO, 16 * GIB, (8192, 64, 32768)),
        (DEMO, 1 * GIB, (8192, 64, 14592)),
        (DEMO, 620 * MIB, (4096, 32, 4096)),
        (LLAMA3_8B, 24 * GIB, (8192, 64, 32768)),
        (LLAMA3_8B, 8 * GIB, (8192, 64, 13568)),
        (SHORT, 24 * GIB, (512, 64, 2048)),
        (HYBRID, 64 * GIB, (8192, 16, 32768)),
    ],
)
def test_the_defaults_on_a_cpu_follow_from_the_memory(shape: ModelShape, memory: int, expected: tuple[int, int, int]) -> None:
    found = choice.llama_cpp_choice(shape, Wanted(), Budget(host=memory))
    assert found.fits
    assert (found.settings.context, found.settings.parallel, found.settings.cells) == expected


def test_what_was_asked_for_is_kept_and_told_when_it_does_not_fit() -> None:
    found = choice.llama_cpp_choice(LLAMA3_8B, Wanted(context=65536, parallel=128, cells=131072), Budget(host=12 * GIB))
    assert (found.settings.context, found.settings.parallel, found.settings.cells, found.fits) == (65536, 128, 131072, False)
    assert found.reason.startswith("even 65536 tokens with 128 at once need 2")


def test_the_reason_names_each_default_that_had_to_shrink() -> None:
    found = choice.llama_cpp_choice(LLAMA3_8B, Wanted(), Budget(host=int(6.2 * GIB)))
    assert found.fits
    assert "for want of memory" in found.reason
    assert "cells instead of" in found.reason


@given(
    st.sampled_from([DEMO, LLAMA3_8B, LLAMA3_70B, HYBRID]),
    st.integers(1, 128).map(lambda gib: gib * GIB),
    st.lists(st.integers(4, 80).map(lambda gib: gib * GIB), max_size=4),
)
@settings(max_examples=60)
def test_what_is_said_to_fit_is_within_the_memory(shape: ModelShape, host: int, devices: list[int]) -> None:
    found = choice.llama_cpp_choice(shape, Wanted(), Budget(host=host, devices=tuple(devices)))
    if found.fits:
        assert found.estimate.host <= host
        assert found.estimate.device <= sum(devices)
        assert found.settings.context <= found.settings.cells <= choice.WINDOWS * found.settings.context


@given(st.sampled_from([DEMO, LLAMA3_8B, HYBRID]), st.integers(512, 40_000), st.integers(0, 8_000))
@settings(max_examples=60)
def test_more_memory_never_gives_a_shorter_context(shape: ModelShape, mebibytes: int, more: int) -> None:
    least = choice.llama_cpp_choice(shape, Wanted(), Budget(host=mebibytes * MIB))
    wider = choice.llama_cpp_choice(shape, Wanted(), Budget(host=(mebibytes + more) * MIB))
    assert wider.fits >= least.fits
    if least.fits:
        assert wider.settings.context >= least.settings.context


def test_a_gpu_gets_the_whole_model_where_it_has_room_and_else_the_last_layers() -> None:
    whole = choice.llama_cpp_choice(LLAMA3_8B, Wanted(), Budget(host=32 * GIB, devices=(24 * GIB,)))
    part = choice.llama_cpp_choice(LLAMA3_70B, Wanted(), Budget(host=64 * GIB, devices=(24 * GIB,)))
    two = choice.llama_cpp_choice(LLAMA3_70B, Wanted(), Budget(host=64 * GIB, devices=(24 * GIB, 24 * GIB)))
    assert whole.settings.gpu_layers == 33
    assert 30 < part.settings.gpu_layers < 60
    assert f"{part.settings.gpu_layers} of 80 layers on the GPU" in part.reason
    assert two.settings.gpu_layers == 81


def one_by_one(shape: ModelShape, budget: Budget) -> tuple[int, int, int] | None:
    """Context, layers and sequences by trying everything, the best first."""
    for context in (8192, 4096, 2048):
        for layers in range(len(shape.layers) + 1, -1, -1):
            for parallel in (64, 32, 16, 8, 4):
                candidate = llama_cpp.Settings(
                    context=context, cells=context, parallel=llama_cpp.most_sequences(shape, parallel), gpu_layers=layers
                )  # fmt: skip
                if choice._fits(shape, candidate, budget):
                    return context, layers, candidate.parallel
    return None


@given(
    st.sampled_from([DEMO, LLAMA3_8B, LLAMA3_70B, HYBRID]),
    st.integers(500, 80_000),
    st.lists(st.integers(300, 50_000).map(lambda mebibytes: mebibytes * MIB), min_size=1, max_size=3),
    st.booleans(),
)
@settings(max_examples=60)
def test_halving_finds_what_trying_everything_finds(shape: ModelShape, host: int, devices: list[int], unified: bool) -> None:
    budget = Budget(host=host * MIB, devices=tuple(devices), unified=unified)
    found = choice.llama_cpp_choice(shape, Wanted(), budget)
    wanted = one_by_one(shape, budget)
    assert found.fits is (wanted is not None)
    if wanted is not None:
        assert (found.settings.context, found.settings.gpu_layers, found.settings.parallel) == wanted


def test_few_of_many_layers_and_sequences_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizing runs on the agent's event loop. Trying everything were 1,215 estimates, 60 to 200 ms."""
    count = 0
    estimate = llama_cpp.estimate

    def counted(*arguments: object, **named: object) -> llama_cpp.Estimate:
        nonlocal count
        count += 1
        return estimate(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(llama_cpp, "estimate", counted)
    found = choice.llama_cpp_choice(LLAMA3_70B, Wanted(), Budget(host=8 * GIB, devices=(8 * GIB,)))
    assert not found.fits
    assert count < 80


def test_layers_that_were_asked_for_are_kept() -> None:
    budget = Budget(host=64 * GIB, devices=(24 * GIB,))
    assert choice.llama_cpp_choice(LLAMA3_70B, Wanted(gpu_layers=10), budget).settings.gpu_layers == 10
    assert choice.llama_cpp_choice(LLAMA3_8B, Wanted(gpu_layers=0), budget).settings.gpu_layers == 0
    assert choice.llama_cpp_choice(LLAMA3_8B, Wanted(gpu_layers=99), budget).settings.gpu_layers == 33


def test_memory_that_both_share_is_counted_once() -> None:
    """A Mac's GPU may use most of the machine's memory, and the machine has no more than that."""
    mac = Budget(host=16 * GIB, devices=(12 * GIB,), unified=True)
    assert choice.llama_cpp_choice(LLAMA3_8B, Wanted(), mac).settings.gpu_layers == 33
    assert not choice.llama_cpp_choice(LLAMA3_70B, Wanted(), mac).fits


@pytest.mark.parametrize(("gpus", "tensor", "fits"), [(1, 1, False), (2, 2, False), (4, 4, True), (8, 4, True)])
def test_vllm_gets_the_fewest_gpus_that_hold_the_model(gpus: int, tensor: int, fits: bool) -> None:
    shape = models.hugging_face(models.LLAMA3_70B)
    found = choice.vllm_choice(shape, Wanted(), Budget(host=64 * GIB, devices=(48 * GIB,) * gpus))
    assert found.fits is fits
    if fits:
        assert found.settings.tensor_parallel == tensor
        assert found.settings.context == 65536  # 113,000 tokens fit
        assert vllm.kv_available(shape, found.settings, gpu=48 * GIB) >= vllm.request_bytes(shape, found.settings)
    else:
        assert "are missing on each of" in found.reason


def test_vllm_shares_heads_out_evenly_or_not_at_all() -> None:
    shape = replace(models.hugging_face(models.QWEN25_7B), heads=28)
    found = choice.vllm_choice(shape, Wanted(), Budget(host=64 * GIB, devices=(8 * GIB,) * 3))
    assert found.settings.tensor_parallel in (1, 2)
