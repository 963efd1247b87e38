from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vllama_operator.workqueue import WorkQueue

A, B = ("team", "a"), ("team", "b")


@asynccontextmanager
async def worker(queue: WorkQueue, job: Callable[..., object], count: int = 1) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.work(job)) for _ in range(count)]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 -- what is awaited has no event to wait for
            await asyncio.sleep(0)


async def test_one_that_is_named_often_is_done_once() -> None:
    queue, seen = WorkQueue(), []

    async def job(ref: tuple[str, str]) -> None:
        seen.append(ref)

    for ref in (A, B, A, A):
        queue.add(ref)
    async with worker(queue, job):
        await until(lambda: len(queue) == 0)
    assert seen == [A, B]


async def test_two_workers_never_have_the_same_one_and_a_change_meanwhile_is_not_lost() -> None:
    queue, active, runs = WorkQueue(), 0, 0
    go = asyncio.Event()

    async def job(ref: tuple[str, str]) -> None:
        nonlocal active, runs
        active, runs = active + 1, runs + 1
        assert active == 1
        await go.wait()
        active -= 1

    queue.add(A)
    async with worker(queue, job, count=2):
        await until(lambda: active == 1)
        queue.add(A)
        queue.add(A)
        go.set()
        await until(lambda: len(queue) == 0)
    assert runs == 2


async def test_an_unexpected_error_stops_nobody() -> None:
    queue, seen = WorkQueue(), []

    async def job(ref: tuple[str, str]) -> None:
        seen.append(ref)
        if ref == A:
            raise ValueError("ours")

    queue.add(A)
    queue.add(B)
    async with worker(queue, job):
        await until(lambda: seen == [A, B])


async def test_failures_are_tried_again_later_and_later_until_one_succeeds() -> None:
    queue = WorkQueue()
    loop = asyncio.get_running_loop()

    def due() -> float:
        delay = queue._timers[A].when() - loop.time()
        queue.add(A)
        return round(delay, 1)

    delays = []
    for _ in range(9):
        queue.retry(A)
        delays.append(due())
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    queue.succeeded(A)
    queue.retry(A)
    assert due() == 0.5
    queue.retry(A, after=30)
    assert due() == 30.0


async def test_a_look_that_can_wait_does_not_hold_up_a_retry() -> None:
    queue, seen = WorkQueue(), []

    async def job(ref: tuple[str, str]) -> None:
        seen.append(ref)

    queue.later(A, after=3600)
    queue.later(A, after=0)
    queue.later(A, after=3600)
    async with worker(queue, job):
        await until(lambda: seen == [A])
