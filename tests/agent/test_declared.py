"""The models of vllama.yaml, at start and when the file changes."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from pool_bench import Bench

from vllama_agent.engines.base import EngineState
from vllama_agent.pool.declared import Difference, difference
from vllama_agent.testing import FakeEngine, until
from vllama_core.config import LoadConfig
from vllama_core.errors import ConfigError, ModelNotFound
from vllama_core.serve_spec import ModelSpec

A, B = ModelSpec(ref="a"), ModelSpec(ref="b")
A_WIDE = ModelSpec(ref="a", settings={"ctx_size": 100})


async def ready(bench):
    await until(lambda: bench.pool.unready() is None and not bench.pool.loading())


def test_only_what_differs_is_changed():
    moved = ModelSpec(ref="a", line=7)
    assert difference((A, B), (B, moved)) == Difference((), ())
    assert difference((A, B), (A_WIDE, B)) == Difference((A,), (A_WIDE,))
    assert difference((), (A,)) == Difference((), (A,))
    assert difference((A,), ()) == Difference((A,), ())


async def test_the_agent_is_ready_when_the_files_models_are():
    gate = asyncio.Event()
    async with Bench("a:latest", make=lambda: FakeEngine(load_gate=gate)) as bench:
        await bench.pool.declare((A,), first=True)
        assert bench.pool.unready() == "a:latest is loading"
        gate.set()
        await ready(bench)
        assert bench.names() == ["a"]
        assert bench.pool.seconds_left(bench.pool.residents()[0]) == float("inf")


async def test_settings_of_an_entry_hold_for_its_model_and_no_other():
    async with Bench("a:latest", "b:latest", load=LoadConfig(parallel=4)) as bench:
        await bench.pool.declare((A_WIDE, B), first=True)
        await ready(bench)
        assert sorted((name, settings.ctx_size, settings.parallel) for name, settings in bench.made) == [
            ("a:latest", 100, 4),
            ("b:latest", 8192, 4),
        ]


async def test_names_and_aliases_of_an_entry_share_an_engine():
    async with Bench("a:latest") as bench:
        await bench.pool.declare((ModelSpec(ref="a", name="big:v1", aliases=("other:latest",)),), first=True)
        await ready(bench)
        async with bench.use("big:v1") as first, bench.use("other") as second:
            assert first is second
        assert {artifact.name for artifact in bench.pool.models()} == {"a:latest", "big:v1", "other:latest"}


async def test_a_model_that_is_added_is_loaded_while_the_agent_stays_ready():
    gate = asyncio.Event()
    gate.set()
    async with Bench("a:latest", "b:latest", make=lambda: FakeEngine(load_gate=gate)) as bench:
        await bench.pool.declare((A,), first=True)
        await ready(bench)
        gate.clear()
        await bench.pool.declare((A, B))
        await until(lambda: len(bench.engines) == 2)
        assert bench.pool.unready() is None
        assert bench.pool.starting() is None
        gate.set()
        await until(lambda: bench.names() == ["a", "b"])
        assert bench.engines[0].loads == 1


async def test_a_model_that_is_removed_is_unpinned_and_unloaded_when_its_answers_have_ended():
    async with Bench("a:latest", "b:latest") as bench, AsyncExitStack() as stack:
        await bench.pool.declare((A, B), first=True)
        await ready(bench)
        engine = await stack.enter_async_context(bench.use("b"))
        await bench.pool.declare((A,))
        assert bench.names() == ["a"]
        for _ in range(5):
            await asyncio.sleep(0)
        assert engine.state is EngineState.READY
        await stack.aclose()
        await until(lambda: engine.state is EngineState.STOPPED)
        async with bench.use("b", keep_alive=5):
            pass
        assert bench.pool.seconds_left(bench.pool.residents()[-1]) <= 5


async def test_a_model_that_changed_is_loaded_anew_and_cuts_no_answer():
    async with Bench("a:latest", "b:latest", room=2) as bench, AsyncExitStack() as stack:
        await bench.pool.declare((A, B), first=True)
        await ready(bench)
        other = bench.engines[1 - [name for name, _ in bench.made].index("a:latest")]
        old = await stack.enter_async_context(bench.use("a"))
        await bench.pool.declare((A_WIDE, B))
        waiting = asyncio.create_task(bench.load("a"))
        await until(lambda: len(bench.engines) == 3)
        assert (old.state, bench.engines[2].state) == (EngineState.READY, EngineState.STOPPED)
        await stack.aclose()
        await waiting
        await ready(bench)
        assert bench.made[2][1].ctx_size == 100
        assert [old.state, other.state, bench.engines[2].state] == [EngineState.STOPPED, EngineState.READY, EngineState.READY]
        assert (other.loads, len(bench.engines)) == (1, 3)


async def test_with_memory_for_both_the_new_one_does_not_wait_for_the_old_ones_answers():
    async with Bench("a:latest", room=2) as bench:
        await bench.pool.declare((A,), first=True)
        await ready(bench)
        async with bench.use("a") as old:
            await bench.pool.declare((A_WIDE,))
            async with bench.use("a") as new:
                assert new is not old
                assert (old.state, new.state) == (EngineState.READY, EngineState.READY)
        await until(lambda: old.state is EngineState.STOPPED)


async def test_another_name_does_not_load_a_model_anew():
    async with Bench("a:latest") as bench:
        await bench.pool.declare((A,), first=True)
        await ready(bench)
        await bench.pool.declare((ModelSpec(ref="a", aliases=("also:latest",)),))
        await ready(bench)
        async with bench.use("also"):
            pass
        assert len(bench.engines) == 1


async def test_what_is_not_to_be_had_leaves_everything_as_it_was():
    async with Bench("a:latest", "b:latest") as bench:
        await bench.pool.declare((A,), first=True)
        await ready(bench)
        with pytest.raises(ModelNotFound):
            await bench.pool.declare((B, ModelSpec(ref="nowhere")))
        assert bench.names() == ["a"]
        assert len(bench.engines) == 1


async def test_a_name_of_the_command_line_is_not_taken_over():
    async with Bench("a:latest", "b:latest") as bench:
        bench.pool.pin(("a",))
        await ready(bench)
        with pytest.raises(ConfigError, match=r"line 3: the name a is taken by --model"):
            await bench.pool.declare((ModelSpec(ref="b", name="a", line=3),))
        assert bench.names() == ["a"]


async def test_a_model_that_could_not_be_loaded_is_tried_at_once_when_its_entry_changes():
    async with Bench("a:latest", make=lambda: FakeEngine(load_error="no memory" if not bench.engines else None)) as bench:
        await bench.pool.declare((A,), first=True)
        await until(lambda: "no memory" in (bench.pool.unready() or ""))
        await bench.pool.declare((A_WIDE,))
        await until(lambda: bench.names() == ["a"])
        assert bench.pool.unready() is None


async def test_a_model_that_is_not_here_is_fetched_while_the_agent_stays_ready():
    arrived = asyncio.Event()

    class Coming:
        name, ref = "new:latest", "b"

        async def run(self, on_event):
            await arrived.wait()
            bench.pool.store.add(kept)

    async def find(ref, form):
        return Coming()

    async with Bench("a:latest", "b:latest", find=find) as bench:
        kept = bench.pool.store._artifacts.pop("b:latest")
        await bench.pool.declare((A,), first=True)
        await ready(bench)
        await bench.pool.declare((A, B))
        assert bench.pool.unready() is None
        assert bench.names() == ["a"]
        arrived.set()
        await until(lambda: bench.names() == ["a", "b"])
