"""Loading, resting, pins."""

import asyncio
import math
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from pool_bench import Bench

from vllama_agent.engines.base import EngineState
from vllama_agent.lifecycle import Event, after
from vllama_agent.pool import key_of, readiness
from vllama_agent.testing import FACTS, FakeEngine, until
from vllama_core.errors import EngineFailed, ModelNotFound


async def test_two_requests_share_one_load():
    gate = asyncio.Event()
    async with Bench(make=lambda: FakeEngine(load_gate=gate)) as bench, AsyncExitStack() as stack:
        first, second = (asyncio.create_task(stack.enter_async_context(bench.use(name))) for name in ("m", "M:LATEST"))
        await until(lambda: bool(bench.engines and bench.engines[0].loads))
        assert len(bench.pool.loading()) == 1
        gate.set()
        assert await first is await second
        assert bench.engines[0].loads == 1


async def test_one_model_is_loaded_at_a_time():
    gates = [asyncio.Event(), asyncio.Event()]
    made = iter(gates)
    async with Bench("a:latest", "b:latest", make=lambda: FakeEngine(load_gate=next(made))) as bench, AsyncExitStack() as stack:
        a, b = (asyncio.create_task(stack.enter_async_context(bench.use(name))) for name in "ab")
        await until(lambda: len(bench.engines) == 2 and bench.engines[0].loads == 1)
        assert bench.engines[1].loads == 0
        gates[0].set()
        await a
        await until(lambda: bench.engines[1].loads == 1)
        gates[1].set()
        await b


async def test_a_caller_that_leaves_does_not_stop_the_load_of_the_others():
    gate = asyncio.Event()
    async with Bench(make=lambda: FakeEngine(load_gate=gate)) as bench, AsyncExitStack() as stack:
        leaver = asyncio.create_task(stack.enter_async_context(bench.use()))
        stayer = asyncio.create_task(stack.enter_async_context(bench.use()))
        await until(lambda: bool(bench.engines and bench.engines[0].loads))
        leaver.cancel()
        gate.set()
        assert (await stayer).state is EngineState.READY


async def test_an_idle_model_is_unloaded_and_loaded_anew():
    async with Bench() as bench:
        async with bench.use(keep_alive=0.01):
            pass
        await until(lambda: bench.engines[0].state is EngineState.STOPPED)
        async with bench.use():
            assert len(bench.engines) == 2


async def test_the_latest_keep_alive_holds():
    async with Bench() as bench:
        async with bench.use(keep_alive=0.0), bench.use(keep_alive=-1.0):
            pass
        (resident,) = bench.pool.residents()
        assert bench.pool.seconds_left(resident) == math.inf
        async with bench.use(keep_alive=60):
            pass
        assert 59 < bench.pool.seconds_left(resident) <= 60


async def test_zero_unloads_when_the_last_request_is_answered():
    async with Bench() as bench:
        async with bench.use():
            async with bench.use(keep_alive=0):
                pass
            assert bench.engines[0].state is EngineState.READY
        await until(lambda: bench.engines[0].state is EngineState.STOPPED)
        assert not bench.pool.residents()


async def test_unloading_what_is_not_loaded_is_nothing():
    async with Bench() as bench:
        bench.pool.unload(bench.pool.find("m"))
        assert not bench.engines


async def test_a_failed_load_is_told_to_all_and_tried_again():
    async with Bench(make=lambda: FakeEngine(load_error="no memory" if not bench.engines else None)) as bench:

        async def attempt():
            async with bench.use():
                pass

        outcomes = await asyncio.gather(attempt(), attempt(), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no memory", "no memory"]
        await attempt()
        assert len(bench.engines) == 2


async def test_a_load_that_takes_too_long_fails():
    async with Bench(make=lambda: FakeEngine(load_gate=asyncio.Event()), load_timeout=0.01) as bench:
        with pytest.raises(EngineFailed, match=r"longer than 0\.01 seconds|within 0\.01 seconds"):
            async with bench.use():
                pass


async def test_an_engine_that_gave_up_is_replaced():
    async with Bench() as bench:
        async with bench.use():
            pass
        bench.engines[0].state = EngineState.FAILED
        async with bench.use() as engine:
            assert engine is bench.engines[1]


async def test_a_pinned_model_answers_before_the_agent_is_ready():
    gate = asyncio.Event()
    async with Bench(make=lambda: FakeEngine(gate=gate), models=("m",)) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bool(bench.engines and bench.engines[0].requests))
        assert bench.engines[0].requests[0].max_tokens == 1
        assert bench.pool.unready() == "m:latest is loading"
        assert bench.pool.starting() is not None
        gate.set()
        await until(lambda: bench.pool.unready() is None)
        assert bench.pool.starting() is None


async def test_readiness_says_why_an_engine_is_not_there():
    async with Bench() as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        bench.engines[0].crash()
        assert bench.pool.unready() == "the engine of m:latest is restarting: it was told to crash"
        assert bench.pool.starting() is None


async def test_a_pinned_model_that_cannot_load_says_so(caplog):
    """Also to a cluster's operator, which reads the log."""
    async with Bench(make=lambda: FakeEngine(load_error="no memory")) as bench:
        bench.pool.pin(("m",))
        await until(lambda: "no memory" in (bench.pool.unready() or ""))
        [told] = [record.failure for record in caplog.records if hasattr(record, "failure")]
        assert told == {"reason": "EngineFailed", "message": "no memory"}


def give_up(engine):
    """What the restarts of a worker that keeps dying end with."""
    engine.crash()
    engine.state = after(engine.state, Event.LOAD_FAILED)


async def test_a_pinned_model_whose_engine_gave_up_comes_back_without_a_request():
    gate = asyncio.Event()
    gate.set()
    async with Bench(make=lambda: FakeEngine(load_gate=gate), revival=0) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        gate.clear()
        give_up(bench.engines[0])
        assert bench.pool.unready() == "the engine of m:latest is failed: it was told to crash"
        await until(lambda: len(bench.engines) == 2 and bench.engines[1].loads == 1)
        assert bench.pool.unready() == "m:latest could not be loaded: it was told to crash"
        assert bench.pool.starting() is None
        assert bench.engines[0].state is EngineState.STOPPED
        gate.set()
        await until(lambda: bench.pool.unready() is None)
        assert len(bench.engines) == 2
    assert bench.engines[1].state is EngineState.STOPPED


async def test_a_pinned_model_is_tried_until_it_comes_back(monkeypatch):
    monkeypatch.setattr(readiness, "FIRST_RETRY", 0)
    errors = iter((None, "no memory", "still no memory", None))
    async with Bench(make=lambda: FakeEngine(load_error=next(errors)), revival=0) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        give_up(bench.engines[0])
        reasons = set()
        await until(lambda: reasons.add(bench.pool.unready()) or (len(bench.engines) == 4 and bench.pool.unready() is None))
        assert bench.engines[3].state is EngineState.READY
        assert all(reason is None or "m:latest" in reason for reason in reasons)


async def test_an_unpinned_engine_that_gave_up_waits_for_the_next_request():
    async with Bench("m:latest", "n:latest", revival=0) as bench:
        bench.pool.pin(("m",))
        async with bench.use("n"):
            pass
        await until(lambda: bench.pool.unready() is None)
        give_up(next(resident.engine for resident in bench.pool.residents() if resident.artifact.name == "n:latest"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(bench.engines) == 2


async def test_the_end_of_the_pool_ends_its_tasks():
    async with Bench(revival=0) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "revive pinned models" in names
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_embedding_model_is_ready_when_loaded():
    facts = replace(FACTS, capabilities=frozenset({"embedding"}))
    async with Bench(make=lambda: FakeEngine(facts=facts)) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        assert not bench.engines[0].requests


@pytest.mark.parametrize(
    ("settings", "keep_alive", "left"),
    [
        ({}, 5.0, math.inf),
        ({}, None, math.inf),
        ({"managed": True}, 0.0, math.inf),
        ({"keep_alive": 60.0}, 5.0, 5.0),
        ({"keep_alive": 60.0}, None, 60.0),
        ({"keep_alive": -1.0}, None, math.inf),
    ],
)
async def test_pins_ignore_shorter_times_unless_lifted(settings, keep_alive, left):
    async with Bench(**settings) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        async with bench.use(keep_alive=keep_alive):
            pass
        (resident,) = bench.pool.residents()
        assert bench.pool.seconds_left(resident) == pytest.approx(left, abs=0.5)


@pytest.mark.parametrize(("managed", "remain"), [(False, 0), (True, 1)])
async def test_clients_unload_a_pinned_model_only_where_nobody_manages_it(managed, remain):
    async with Bench(managed=managed) as bench:
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        bench.pool.unload(bench.pool.find("m"))
        assert len(bench.pool.residents()) == remain


async def test_nothing_is_loaded_after_the_end():
    bench = Bench()
    async with bench, bench.use():
        pass
    assert bench.engines[0].state is EngineState.STOPPED
    with pytest.raises(EngineFailed, match="shutting down"):
        async with bench.use():
            pass


async def test_closing_ends_a_load():
    bench = Bench(make=lambda: FakeEngine(load_gate=asyncio.Event()))

    async def attempt():
        async with bench.use():
            pass

    waiting = asyncio.create_task(attempt())
    await until(lambda: bool(bench.engines and bench.engines[0].loads))
    await bench.pool.close()
    with pytest.raises(EngineFailed):
        await waiting


def test_names():
    assert key_of("M") == key_of("m:latest") == "m:latest"
    assert key_of("host:1/a/b") == "host:1/a/b:latest"


async def test_an_empty_name_is_not_found():
    with pytest.raises(ModelNotFound, match="model '' not found"):
        Bench().pool.find("")


async def test_models_with_the_same_files_share_an_engine():
    async with Bench() as bench:
        base = bench.pool.find("m")
        bench.pool.store.add(replace(base, name="alias:latest", digest="1" * 64, system="Be short."))
        bench.pool.store.add(replace(base, name="wide:latest", digest="2" * 64, parameters={"num_ctx": 9}))
        async with bench.use("m") as first, bench.use("alias") as second, bench.use("wide") as third:
            assert first is second
            assert first is not third
        bench.pool.unload(bench.pool.find("alias"))
        assert [resident.artifact.name for resident in bench.pool.residents()] == ["wide:latest"]


async def test_a_pin_holds_under_every_name_of_the_files():
    async with Bench() as bench:
        bench.pool.store.add(replace(bench.pool.find("m"), name="alias:latest"))
        bench.pool.pin(("m",))
        await until(lambda: bench.pool.unready() is None)
        async with bench.use("alias", keep_alive=1.0):
            pass
        assert math.isinf(bench.pool.seconds_left(bench.pool.residents()[0]))


async def test_what_was_pinned_before_the_server_was_there_loads_already_and_only_once():
    async with Bench() as bench:
        bench.pool.pin_ahead(("m",))
        await until(lambda: bench.pool.unready() is None)
        await bench.pool.fetch_and_pin(("m",))
        assert bench.pool.unready() is None
        assert len(bench.engines) == 1
        assert bench.engines[0].loads == 1


async def test_a_name_that_leads_nowhere_is_told_by_the_start_and_not_ahead_of_it():
    async with Bench() as bench:
        bench.pool.pin_ahead(("nobody",))
        assert bench.engines == []
        with pytest.raises(ModelNotFound):
            await bench.pool.fetch_and_pin(("nobody",))
