"""What a model is loaded with for the room that others leave, and what the pool then reckons with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import machines
import pytest
from pool_bench import ONE, PLENTY, Bench

from vllama_agent.pool.budget import Budget, Need, Occupant, Use
from vllama_agent.pool.rooms import Rooms, Surroundings
from vllama_agent.pool.settings import Settings
from vllama_agent.testing import FACTS, SHAPE, FakeArtifact, FakeEngine
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed
from vllama_core.gguf import GgufError
from vllama_core.hardware import Accelerator, Machine
from vllama_core.sizing import llama_cpp
from vllama_core.sizing.shape import GIB, MIB, Layer, ModelShape

CELL = 18 * 2 * 256 * 2
"""Bytes that a token takes in 18 layers of one KV head of 256, f16."""
MODEL = FakeArtifact(name="m:latest", digest="0" * 64, fake_shape=replace(SHAPE, layers=(Layer(kv_heads=1, key=256, value=256),) * 18))


def sizes_of(config: LoadConfig) -> tuple[int | None, int | None, int | None]:
    return config.ctx_size, config.parallel, config.kv_cells


def occupant(size: int, use: Use = Use.IDLE, *, gpu: int = 0) -> Occupant:
    return Occupant(name="other", need=Need(bytes=size, gpu=gpu), use=use, last_used=0, whose=None)


def rooms(size: int | None, *, free: int = PLENTY, gpus: Sequence[Accelerator] = (), settings: Settings | None = None) -> Rooms:
    surroundings = Surroundings(free=lambda: free, accelerators=lambda config, form: () if config.gpu_layers == 0 else gpus)
    return Rooms(Budget(bytes=size), settings or Settings(LoadConfig(), managed=False), surroundings)


def gpus_of(machine: Machine) -> tuple[Accelerator, ...]:
    return machine.accelerators


def test_the_need_is_the_sizings_own_estimate_for_the_settings_that_are_loaded() -> None:
    found = rooms(None).sized(MODEL, LoadConfig(), [])
    assert sizes_of(found.config) == (8192, 64, 32768)
    settings = llama_cpp.Settings(context=8192, cells=32768, parallel=64)
    assert found.need == Need(bytes=llama_cpp.estimate(MODEL.shape, settings).host)
    assert found.fits


def test_what_was_said_stays_and_the_rest_is_untouched() -> None:
    said = LoadConfig(ctx_size=1000, parallel=3, cache_type_k="q8_0", cache_type_v="q8_0", step_budget=0.5)
    assert rooms(None).sized(MODEL, said, []).config == replace(said, kv_cells=3816)


def test_a_budget_that_was_said_bounds_what_is_chosen_and_may_be_filled() -> None:
    """The least that is allowed needs that much."""
    least = rooms(None).sized(MODEL, LoadConfig(ctx_size=2048, kv_cells=2048, parallel=4), []).need.bytes
    tight = rooms(least).sized(MODEL, LoadConfig(), [])
    assert (sizes_of(tight.config), tight.need.bytes, tight.fits) == ((2048, 4, 2048), least, True)
    assert not rooms(least - 1).sized(MODEL, LoadConfig(), []).fits


def test_memory_that_others_took_since_the_start_is_not_planned_with() -> None:
    free = int(rooms(None).sized(MODEL, LoadConfig(), []).need.bytes / 0.9) - 100 * MIB
    found = rooms(100 * GIB, free=free).sized(MODEL, LoadConfig(), [])
    assert found.fits
    assert found.need.bytes <= free * 0.9


def test_pinned_models_keep_their_memory() -> None:
    found = rooms(4 * GIB).sized(MODEL, LoadConfig(), [occupant(3 * GIB + 400 * MIB, Use.PINNED)])
    assert found.fits
    assert found.need.bytes <= 4 * GIB - (3 * GIB + 400 * MIB)


def test_a_larger_pool_of_cells_is_no_reason_for_an_idle_model_to_go() -> None:
    whole = rooms(2 * GIB).sized(MODEL, LoadConfig(), [])
    beside = rooms(2 * GIB).sized(MODEL, LoadConfig(), [occupant(GIB + 400 * MIB)])
    assert beside.fits
    assert (beside.config.ctx_size, beside.config.parallel) == (whole.config.ctx_size, whole.config.parallel)
    assert beside.need.bytes <= 2 * GIB - (GIB + 400 * MIB) < whole.need.bytes


@pytest.mark.parametrize("use", [Use.IDLE, Use.BUSY])
def test_a_smaller_context_is_one(use: Use) -> None:
    whole = rooms(2 * GIB).sized(MODEL, LoadConfig(), [])
    assert rooms(2 * GIB).sized(MODEL, LoadConfig(), [occupant(GIB + 700 * MIB, use)]) == whole
    assert rooms(2 * GIB).sized(MODEL, LoadConfig(), [occupant(GIB + 700 * MIB, use)], polite=True).need.bytes < whole.need.bytes


def test_what_leaves_takes_no_room() -> None:
    assert rooms(2 * GIB).sized(MODEL, LoadConfig(), [occupant(2 * GIB, Use.LEAVING)]) == rooms(2 * GIB).sized(MODEL, LoadConfig(), [])


def test_the_memory_of_a_models_entry_is_kept_for_it_and_bounds_what_is_chosen() -> None:
    settings = Settings(LoadConfig(), managed=False)
    settings.give("m", {}, memory=700 * MIB)
    found = rooms(None, settings=settings).sized(MODEL, LoadConfig(), [])
    assert found.need == Need(bytes=700 * MIB)
    own = llama_cpp.Settings(context=8192, parallel=64, cells=found.config.kv_cells or 0)
    assert llama_cpp.estimate(MODEL.shape, own).host <= 700 * MIB


def test_settings_that_contradict_each_other_are_told() -> None:
    with pytest.raises(EngineFailed, match="--kv-cells 100 is less than --ctx-size 512"):
        rooms(None).sized(MODEL, LoadConfig(ctx_size=512, kv_cells=100), [])


def test_files_that_are_no_model_are_told_under_the_models_name() -> None:
    class Broken(FakeArtifact):
        @property
        def shape(self) -> ModelShape:
            raise GgufError("it is no GGUF file")

    with pytest.raises(EngineFailed, match="m:latest cannot be loaded: it is no GGUF file"):
        rooms(None).sized(Broken(name="m:latest", digest="0" * 64), LoadConfig(), [])


# --- GPUs -------------------------------------------------------------------------------------------------------------------


def test_on_gpus_the_need_is_told_apart_and_the_layers_are_decided() -> None:
    found = rooms(None, gpus=gpus_of(machines.with_nvidia())).sized(MODEL, LoadConfig(), [])
    settings = llama_cpp.Settings(context=8192, cells=32768, parallel=64, gpu_layers=19)
    estimate = llama_cpp.estimate(MODEL.shape, settings)
    assert found.config.gpu_layers == 19
    assert found.need == Need(bytes=estimate.host, gpu=estimate.device)


def test_a_gpu_that_a_pinned_model_fills_leaves_layers_to_the_cpu() -> None:
    gpus = gpus_of(machines.with_nvidia())
    taken = occupant(0, Use.PINNED, gpu=int(gpus[0].usable * 0.92) - 600 * MIB)
    found = rooms(None, gpus=gpus).sized(MODEL, LoadConfig(parallel=64, ctx_size=32768), [taken])
    assert 0 <= found.config.gpu_layers < 19
    assert found.need.gpu <= 600 * MIB


def test_without_an_accelerator_layers_stay_as_they_were_said() -> None:
    """An accelerator that nobody detected is still used by a build for it."""
    assert rooms(None).sized(MODEL, LoadConfig(), []).config.gpu_layers == -1
    assert rooms(None, gpus=gpus_of(machines.with_nvidia())).sized(MODEL, LoadConfig(gpu_layers=0), []).config.gpu_layers == 0


def test_memory_that_a_gpu_shares_with_the_machine_counts_once() -> None:
    found = rooms(None, gpus=gpus_of(machines.mac())).sized(MODEL, LoadConfig(), [])
    assert found.unified
    assert found.need.bytes > found.need.gpu > 0


# --- in the pool ------------------------------------------------------------------------------------------------------------


async def test_the_engine_is_made_with_every_size_decided_and_the_log_names_the_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Bench() as bench:
        await bench.load("m")
        [(name, config)] = bench.made
        assert (name, *sizes_of(config)) == ("m:latest", 8192, 64, 32768)
        assert "loading m:latest: context 8192, 64 sequences, 32768 KV cells: it needs " in caplog.text


async def test_of_a_loaded_model_each_kind_of_memory_counts_by_what_is_more() -> None:
    facts = replace(FACTS, memory_bytes=5 * ONE, vram_bytes=3 * ONE)
    async with Bench(make=lambda: FakeEngine(facts=facts)) as bench:
        await bench.load("m")
        [resident] = bench.pool.residents()
        assert resident.occupant(Use.IDLE).need == Need(bytes=2 * ONE, gpu=3 * ONE)


async def test_two_models_that_are_asked_for_at_once_share_a_memory_that_holds_both() -> None:
    """The second one is sized beside the first one, which has not begun to load."""
    async with Bench("a:latest", "b:latest") as bench:
        for name in "ab":
            bench.pool.store.add(replace(bench.pool.find(name), fake_shape=MODEL.fake_shape))
        need = rooms(None).sized(MODEL, LoadConfig(), []).need.bytes
        bench.pool._residency._rooms = rooms(2 * need - 100 * MIB)
        async with bench.use("a"), bench.use("b"):
            pass
        assert bench.names() == ["a", "b"]
        assert bench.made[0][1].kv_cells > bench.made[1][1].kv_cells
