"""Verdicts: what fits, what would, and the JSON that a Job leaves behind."""

from __future__ import annotations

import json
from typing import Any

import model_shapes as models
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError
from vllama_core.hardware import Machine, Memory, Vendor
from vllama_core.sizing import budget as budgets
from vllama_core.sizing import report
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.choice import Wanted
from vllama_core.sizing.plan import Plan, Question, make
from vllama_core.sizing.shape import GIB, KIB, MIB, ModelShape

LLAMA3_70B = models.gguf(models.LLAMA3_70B, types=models.q4_k_m(80))
LLAMA3_8B = models.gguf(models.LLAMA3_8B, types=models.q4_k_m(32))
ORIGINAL = models.hugging_face(models.LLAMA3_70B)


def plan(shape: ModelShape, budget: Budget, *, engine: EngineName = EngineName.LLAMA_CPP, model: str = "a/b", **wanted: Any) -> Plan:
    return make(Question(model=model, engine=engine, shape=shape, wanted=Wanted(**wanted), budget=budget))


def ways(found: Plan) -> dict[str, str | int]:
    return {way.change: way.value for way in found.ways_out}


def test_what_fits_needs_no_way_out_and_tells_the_longest_context() -> None:
    found = plan(LLAMA3_8B, Budget(host=24 * GIB))
    assert (found.fits, found.ways_out, found.largest_context) == (True, (), 131072)


def test_what_does_not_fit_would_in_fewer_bits_or_with_more_memory() -> None:
    found = plan(LLAMA3_8B, Budget(host=5 * GIB))
    assert not found.fits
    assert ways(found) == {"quantization": "Q3_K_M", "memory": 6}


def test_a_context_that_is_too_long_would_fit_by_halves() -> None:
    found = plan(LLAMA3_8B, Budget(host=12 * GIB), context=131072)
    assert ways(found)["context"] == 32768 == found.largest_context


def test_more_gpus_and_larger_ones_are_ways_out() -> None:
    budget = Budget(host=8 * GIB, devices=(16 * GIB,))
    assert ways(plan(LLAMA3_70B, budget)) == {"gpus": 3, "memory": 37}


def test_vllm_is_told_fewer_bits_and_more_gpus() -> None:
    found = plan(ORIGINAL, Budget(host=64 * GIB, devices=(24 * GIB, 24 * GIB)), engine=EngineName.VLLM)
    assert ways(found)["quantization"] == "INT4 (AWQ or GPTQ)"
    assert ways(found)["gpus"] == 8
    assert ways(found)["memory"] > 72


def test_every_way_out_leads_out() -> None:
    budget = Budget(host=8 * GIB, devices=(16 * GIB,))
    for way in plan(LLAMA3_70B, budget).ways_out:
        if way.change == "gpus":
            assert plan(LLAMA3_70B, Budget(host=8 * GIB, devices=(16 * GIB,) * int(way.value))).fits
        if way.change == "memory":
            assert plan(LLAMA3_70B, Budget(host=8 * GIB, devices=(int(way.value) * GIB,))).fits


def test_vllm_without_a_gpu_cannot_be_planned_for() -> None:
    with pytest.raises(ConfigError, match="--gpus 1 --memory 24GiB"):
        plan(ORIGINAL, Budget(host=64 * GIB), engine=EngineName.VLLM)


def test_the_json_has_the_documented_fields() -> None:
    found = report.as_json(plan(LLAMA3_8B, Budget(host=24 * GIB), model="llama3.1:8b"))
    assert list(found) == [
        "version", "model", "engine", "fits", "reason", "needed", "available", "settings", "largest_context", "parts", "shape", "ways_out",
    ]  # fmt: skip
    assert found["settings"] == {"context": 8192, "kv_cells": 32768, "parallel": 64, "gpu_layers": 0}
    assert found["needed"]["host"] == sum(part["host"] for part in found["parts"])
    assert found["shape"]["weights"] == LLAMA3_8B.weights.total


@given(
    st.text(max_size=3000),
    st.sampled_from([LLAMA3_8B, LLAMA3_70B, ORIGINAL]),
    st.lists(st.integers(1, 200).map(lambda gib: gib * GIB), min_size=1, max_size=16),
    st.sampled_from([EngineName.LLAMA_CPP, EngineName.VLLM]),
)
def test_the_json_fits_into_a_termination_message(model: str, shape: ModelShape, devices: list[int], engine: EngineName) -> None:
    found = report.as_json(plan(shape, Budget(host=1 << 40, devices=tuple(devices)), engine=engine, model=model))
    assert len(report.line(found).encode()) <= report.TERMINATION_BYTES
    assert json.loads(report.line(found)) == found


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * GIB), ("24 G", 24 * GIB), ("24gb", 24 * GIB), ("1.5T", 1536 * GIB), ("512m", 512 * MIB), ("8589934592", 8 * GIB)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert budgets.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "0", "nanG", "infG", "1e400", "24 parsecs", "1 G i B"])
def test_what_is_no_size_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="write it like 24GiB"):
        budgets.parse_size(text)


@pytest.mark.parametrize(("text", "count"), [("32k", 32 * KIB), ("1M", MIB), ("8192", 8192)])
def test_tokens_are_read_as_people_write_them(text: str, count: int) -> None:
    assert budgets.parse_tokens(text) == count


@pytest.mark.parametrize("text", ["", "k", "0", "-4k", "1.5k", "32g", "17m", "1" + "0" * 400])
def test_what_is_no_number_of_tokens_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="write it like 32k"):
        budgets.parse_tokens(text)


def test_a_machine_without_a_gpu_offers_its_free_memory(machine_of: Any) -> None:
    assert budgets.of_machine(machine_of()) == Budget(host=20 * GIB)


def test_only_one_makers_gpus_are_used(machine_of: Any) -> None:
    found = machine_of((Vendor.NVIDIA, 24 * GIB), (Vendor.NVIDIA, 16 * GIB), (Vendor.INTEL, 8 * GIB))
    assert budgets.of_machine(found) == Budget(host=20 * GIB, devices=(24 * GIB, 16 * GIB))
    assert budgets.of_machine(found, gpus=False) == Budget(host=20 * GIB)


@pytest.fixture
def machine_of() -> Any:
    from vllama_core.hardware import Accelerator, Cpu

    cpu = Cpu(name="", architecture="x86_64", logical=8, cores=8, quota=None, threads=8, features=(), why={})

    def make_machine(*gpus: tuple[Vendor, int]) -> Machine:
        accelerators = tuple(
            Accelerator(
                vendor=vendor, index=index, name="", identity="", total=size, usable=size, free=None, unified=False, architecture=None,
                compute_capability=None, driver=None, cuda=None, mig=False, why={},
            )
            for index, (vendor, size) in enumerate(gpus)
        )  # fmt: skip
        memory = Memory(total=24 * GIB, limit=None, available=20 * GIB, why={})
        return Machine(system="Linux", container=False, cpu=cpu, memory=memory, accelerators=accelerators, probes=())

    return make_machine
