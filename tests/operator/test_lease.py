from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from vllama_operator.errors import ClusterBusy, NotLeader, NotThere
from vllama_operator.lease import Leadership, Sighting, may_take, pause, taken
from vllama_operator.settings import Settings


class Leases:
    """The API server's one Lease, with its rule that a change must name the version that it changes."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False
        self.reads = 0

    def _answer(self) -> None:
        if self.down:
            raise ClusterBusy("away")

    async def get(self, kind: str, *, namespace: str, name: str) -> Mapping[str, Any]:
        self._answer()
        self.reads += 1
        if self.lease is None:
            raise NotThere("no")
        return copy.deepcopy(self.lease)

    async def create_lease(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        self._answer()
        if self.lease is not None:
            raise ClusterBusy("there is one")
        return self._put(manifest, "1")

    async def replace_lease(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        self._answer()
        assert self.lease is not None
        version = self.lease["metadata"]["resourceVersion"]
        if manifest["metadata"]["resourceVersion"] != version:
            raise ClusterBusy("it has changed")
        return self._put(manifest, str(int(version) + 1))

    def _put(self, manifest: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        self.lease = copy.deepcopy({**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}})
        return self.lease

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


class Replica:
    """One that keeps the Lease with a deadline of one second."""

    def __init__(self, leases: Leases, identity: str) -> None:
        timing = {"lease_duration": 30.0, "renew_deadline": 1.0, "renew_period": 0.02, "follow_period": 0.02}
        self.leadership = Leadership(Settings(identity=identity, **timing))
        self.changes: list[bool] = []
        self.task = asyncio.create_task(self.leadership.keep(leases, self.changes.append))  # type: ignore[arg-type]

    async def ends(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def until(done: Any) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 -- what is awaited has no event to wait for
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("holder", "seen_at", "now", "may"),
    [("", 0, 0, True), ("me", 0, 0, True), ("other", 0, 9.9, False), ("other", 0, 10.0, True), ("other", 5, 10.0, False)],
)
def test_the_lease_is_taken_from_a_holder_that_went_silent(holder: str, seen_at: float, now: float, may: bool) -> None:
    lease = {"spec": {"holderIdentity": holder, "leaseDurationSeconds": 10}}
    assert may_take(lease, identity="me", sighting=Sighting("1", seen_at), now=now) is may


@pytest.mark.parametrize(
    ("leads", "seen_at", "now", "seconds"),
    [(True, 0, 0, 2), (False, 0, 0, 3), (False, 0, 8, 2), (False, 0, 10, 2), (False, float("-inf"), 0, 2)],
)
def test_who_follows_looks_less_often_but_just_when_the_holder_was_silent_for_too_long(
    leads: bool, seen_at: float, now: float, seconds: float
) -> None:
    settings = Settings(lease_duration=10, renew_period=2, follow_period=3)
    assert pause(settings, leads=leads, sighting=Sighting("1", seen_at), now=now) == seconds


def test_who_takes_it_over_counts_the_change_and_who_renews_does_not() -> None:
    first = taken({"metadata": {}}, identity="a", duration=10, time="t1")
    assert first["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 10,
        "acquireTime": "t1",
        "renewTime": "t1",
        "leaseTransitions": 1,
    }
    assert taken(first, identity="a", duration=10, time="t2")["spec"] == first["spec"] | {"renewTime": "t2"}
    assert taken(first, identity="b", duration=10, time="t3")["spec"]["leaseTransitions"] == 2


async def test_of_two_replicas_one_leads_and_the_other_follows_at_once_when_it_ends() -> None:
    leases = Leases()
    first = Replica(leases, "a")
    await until(lambda: first.leadership.leads)
    second = Replica(leases, "b")
    renewed = leases.lease
    await until(lambda: leases.lease is not renewed)
    assert not second.leadership.leads
    with pytest.raises(NotLeader):
        second.leadership.check()
    await first.ends()
    with pytest.raises(NotLeader):
        first.leadership.check()
    await until(lambda: second.leadership.leads)
    assert leases.holder == "b"
    assert (first.changes, second.changes) == ([True], [True])
    await second.ends()


async def test_a_holder_renews_by_one_request_each() -> None:
    """Two for each would be most of what an idle operator asks of the API server."""
    leases = Leases()
    only = Replica(leases, "a")
    await until(lambda: leases.lease is not None and int(leases.lease["metadata"]["resourceVersion"]) > 3)
    assert leases.reads == 1
    await only.ends()


async def test_a_holder_whose_lease_was_changed_reads_it_again() -> None:
    leases = Leases()
    only = Replica(leases, "a")
    await until(lambda: only.leadership.leads)
    assert leases.lease is not None
    leases.lease["metadata"] |= {"resourceVersion": "100", "labels": {"touched": "yes"}}
    await until(lambda: leases.lease is not None and int(leases.lease["metadata"]["resourceVersion"]) > 100)
    assert leases.lease["metadata"]["labels"] == {"touched": "yes"}
    assert only.changes == [True]
    await only.ends()


async def test_a_holder_that_cannot_renew_stops_writing_before_anybody_may_take_over() -> None:
    leases = Leases()
    only = Replica(leases, "a")
    await until(lambda: only.leadership.leads)
    leases.down = True
    began = asyncio.get_running_loop().time()
    await until(lambda: not only.leadership.leads)
    assert asyncio.get_running_loop().time() - began < 30.0, "the duration of the lease"
    await until(lambda: only.changes == [True, False])
    leases.down = False
    await until(lambda: only.changes == [True, False, True])
    await only.ends()


def test_a_request_in_flight_ends_before_the_lease_does() -> None:
    settings = Settings()
    assert settings.renew_deadline + settings.request_timeout < settings.lease_duration
