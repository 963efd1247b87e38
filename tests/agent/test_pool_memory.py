"""Several models in a memory that does not hold all of them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from pool_bench import ONE, Bench

from vllama_agent.engines.base import EngineState
from vllama_agent.pool import loader
from vllama_agent.testing import FACTS, SHAPE, FakeEngine, until
from vllama_core.errors import Busy, DoesNotFit, EngineFailed
from vllama_core.sizing.shape import Layer


async def enter(stack, context):
    return await stack.enter_async_context(context)


async def test_switching_between_models_that_both_fit_loads_each_once():
    async with Bench("a:latest", "b:latest", room=2) as bench:
        await bench.load(*"abababab")
        assert bench.pool.loads() == {"a:latest": 1, "b:latest": 1}
        assert bench.names() == ["a", "b"]


async def test_the_least_recently_used_idle_model_goes():
    async with Bench("a:latest", "b:latest", "c:latest", room=2) as bench:
        await bench.load("a", "b", "a", "c")
        assert bench.names() == ["a", "c"]
        assert [engine.state for engine in bench.engines] == [EngineState.READY, EngineState.STOPPED, EngineState.READY]


async def test_nothing_is_loaded_before_the_memory_is_free():
    class Slow(FakeEngine):
        async def unload(self):
            await leave.wait()
            await super().unload()

    leave = asyncio.Event()
    async with Bench("a:latest", "b:latest", room=1, make=Slow) as bench:
        await bench.load("a")
        second = asyncio.create_task(bench.load("b"))
        await until(lambda: len(bench.engines) == 2)
        for _ in range(5):
            await asyncio.sleep(0)
        assert bench.engines[1].loads == 0
        leave.set()
        await second
        assert bench.engines[1].loads == 1


async def test_a_model_waits_for_the_answers_of_a_busy_one_and_cuts_none(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0)
    async with Bench("a:latest", "b:latest", room=1) as bench, AsyncExitStack() as stack:
        first = await enter(stack, bench.use("a"))
        second = asyncio.create_task(bench.load("b"))
        await until(lambda: bool(bench.pool.loading()))
        assert first.state is EngineState.READY
        assert not second.done()
        await stack.aclose()
        await second
        assert bench.names() == ["b"]


async def test_a_busy_model_goes_on_taking_requests_for_a_moment(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 1000)
    async with Bench("a:latest", "b:latest", room=1) as bench, AsyncExitStack() as stack:
        first = await enter(stack, bench.use("a"))
        waiting = asyncio.create_task(bench.load("b"))
        await until(lambda: bool(bench.pool.loading()))
        async with bench.use("a") as again:
            assert again is first
        await stack.aclose()
        await waiting


async def test_then_new_requests_for_it_wait_behind_the_one_that_waits(monkeypatch):
    """Else a model that always has requests would keep the others out for ever."""
    monkeypatch.setattr(loader, "PATIENCE", 0)
    async with Bench("a:latest", "b:latest", room=1) as bench, AsyncExitStack() as stack:
        await enter(stack, bench.use("a"))
        other = asyncio.create_task(bench.load("b"))
        await until(lambda: not bench.pool.residents())
        assert [resident.artifact.name for resident in bench.pool.present()] == ["a:latest"]
        assert bench.pool.seconds_left(bench.pool.present()[0]) == 0
        again = asyncio.create_task(bench.load("a"))
        await until(lambda: len(bench.engines) == 3)
        await stack.aclose()
        await asyncio.gather(other, again)
        assert [name for name, _ in bench.made] == ["a:latest", "b:latest", "a:latest"]
        assert [engine.loads for engine in bench.engines] == [1, 1, 1]


async def test_who_waits_too_long_is_told_why(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0)
    async with Bench("a:latest", "b:latest", room=1, memory_wait=0.02) as bench, AsyncExitStack() as stack:
        await enter(stack, bench.use("a"))
        with pytest.raises(Busy, match=r"b:latest could not be loaded within 0\.02 seconds: .*a:latest \(\d+ MB\)") as told:
            await bench.load("b")
        assert told.value.retry_after > 0
        await until(lambda: len(bench.engines) == 2 and not bench.pool.loading())
        assert bench.engines[1].loads == 0


async def test_a_load_that_nobody_waits_for_any_more_is_given_up(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 1000)
    async with Bench("a:latest", "b:latest", room=1) as bench, AsyncExitStack() as stack:
        await enter(stack, bench.use("a"))
        waiting = asyncio.create_task(bench.load("b"))
        await until(lambda: bool(bench.pool.loading()))
        waiting.cancel()
        await until(lambda: not bench.pool.loading())
        await stack.aclose()
        await bench.load("a")
        assert bench.pool.loads() == {"a:latest": 1}


async def test_a_pinned_model_is_never_unloaded_for_another_one():
    async with Bench("a:latest", "b:latest", room=1) as bench:
        bench.pool.pin(("a",))
        await until(lambda: bench.pool.unready() is None)
        with pytest.raises(DoesNotFit, match=r"requires more system memory .* does not fit beside a:latest"):
            await bench.load("b")
        assert bench.names() == ["a"]


async def test_what_an_engine_takes_counts_when_it_is_more_than_was_reckoned():
    async with Bench("a:latest", "b:latest", room=2, make=lambda: FakeEngine(facts=replace(FACTS, memory_bytes=int(1.5 * ONE)))) as bench:
        await bench.load("a")
        assert bench.pool.memory_taken() == int(1.5 * ONE)
        await bench.load("b")
        assert bench.names() == ["b"]


async def test_a_mixed_crowd_under_a_budget_for_one_is_answered_without_error(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0.005)
    async with Bench("a:latest", "b:latest", room=1) as bench:

        async def ask(number):
            async with bench.use("ab"[number % 2]) as engine:
                assert engine.state is EngineState.READY
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                assert engine.state is EngineState.READY
                ready = [other for other in bench.engines if other.state is EngineState.READY]
                assert ready == [engine], "two models were loaded in the memory of one"

        await asyncio.gather(*(ask(number) for number in range(200)))
        assert sum(bench.pool.loads().values()) < 20
        assert len(bench.names()) == 1


# --- preloading -------------------------------------------------------------------------------------------------------------


async def test_a_preloaded_model_is_loaded_and_not_pinned():
    async with Bench("a:latest", "b:latest", room=1) as bench:
        await bench.pool.preload(("a",))
        assert bench.pool.unready() is None
        await until(lambda: bench.names() == ["a"])
        assert 299 < bench.pool.seconds_left(bench.pool.residents()[0]) <= 300
        await bench.load("b")
        assert bench.names() == ["b"]


async def test_a_model_is_not_preloaded_at_the_cost_of_another_one(caplog):
    async with Bench("a:latest", "b:latest", room=1) as bench:
        await bench.load("a")
        await bench.pool.preload(("b",))
        await until(lambda: "b:latest is not preloaded" in caplog.text)
        assert bench.names() == ["a"]


async def test_a_request_for_a_model_that_was_to_be_preloaded_loads_it(monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0)
    gate = asyncio.Event()
    async with Bench("a:latest", "b:latest", room=1, make=lambda: FakeEngine(load_gate=gate)) as bench:
        first = asyncio.create_task(bench.load("a"))
        await until(lambda: bool(bench.engines and bench.engines[0].loads))
        await bench.pool.preload(("b",))
        await until(lambda: len(bench.engines) == 2)
        request = asyncio.create_task(bench.load("b"))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, request)
        assert bench.names() == ["b"]


# --- a larger context ---------------------------------------------------------------------------------------------------------


def sizing(bench):
    """Make engines report the context that their settings say."""

    def engine(artifact, settings):
        made = FakeEngine(facts=replace(FACTS, context_length=settings.ctx_size or 4096))
        bench.engines.append(made)
        bench.made.append((artifact.name, settings))
        return made

    bench.pool._residency._make_engine = engine
    return bench


async def test_an_idle_model_is_loaded_anew_when_a_request_wants_more_context():
    async with sizing(Bench(room=1)) as bench:
        await bench.load("m")
        async with bench.use(num_ctx=20_000) as engine:
            assert engine.facts.context_length == 20_000
        async with bench.use(num_ctx=10_000) as same:
            assert same is engine
        async with bench.use() as same:
            assert same is engine
        assert bench.pool.loads() == {"m:latest": 2}
        assert bench.engines[0].state is EngineState.STOPPED


async def test_a_model_that_is_not_loaded_yet_is_loaded_with_it_at_once():
    async with sizing(Bench(room=1)) as bench:
        async with bench.use(num_ctx=20_000) as engine:
            assert engine.facts.context_length == 20_000
        assert len(bench.engines) == 1


async def test_more_than_it_was_trained_for_is_not_to_be_had():
    async with sizing(Bench(room=1)) as bench:
        async with bench.use(num_ctx=1_000_000) as engine:
            assert engine.facts.context_length == 32_768
        async with bench.use(num_ctx=1_000_000) as same:
            assert same is engine


async def test_a_busy_model_keeps_its_context():
    async with sizing(Bench(room=1)) as bench, bench.use() as busy, bench.use(num_ctx=20_000) as engine:
        assert engine is busy


@pytest.mark.parametrize("settings", [{"managed": True}, {"ctx": 4096}], ids=["an operator planned it", "somebody said a size"])
async def test_a_context_that_was_decided_is_not_changed_by_requests(settings):
    from vllama_core.config import LoadConfig

    chosen = {"load": LoadConfig(ctx_size=settings["ctx"])} if "ctx" in settings else settings
    async with sizing(Bench(room=1, **chosen)) as bench:
        async with bench.use() as before:
            pass
        async with bench.use(num_ctx=20_000) as after:
            assert after is before


async def test_a_context_for_which_there_is_no_memory_leaves_all_as_it_is():
    async with sizing(Bench("m:latest", "n:latest", room=2.5)) as bench:
        bench.pool.store.add(replace(bench.pool.find("m"), fake_shape=with_cells(bytes_of_a_token=12_288)))
        await bench.load("n")
        async with bench.use("m") as before:
            pass
        async with bench.use("m", num_ctx=20_000) as after:
            assert after is before
        assert bench.names() == ["m", "n"]


def with_cells(*, bytes_of_a_token):
    """A model of one layer."""
    return replace(SHAPE, layers=(Layer(kv_heads=1, key=bytes_of_a_token // 4, value=bytes_of_a_token // 4), *SHAPE.layers[1:]))


async def test_a_context_that_failed_to_load_is_not_tried_again():
    async with sizing(Bench(room=1)) as bench:
        await bench.load("m")
        make = bench.pool._residency._make_engine

        def failing(artifact, settings):
            engine = make(artifact, settings)
            engine.load_error = "no memory" if settings.ctx_size == 20_000 else None
            return engine

        bench.pool._residency._make_engine = failing
        with pytest.raises(EngineFailed, match="no memory"):
            async with bench.use(num_ctx=20_000):
                pass
        async with bench.use(num_ctx=20_000) as engine:
            assert engine.facts.context_length == 8192
