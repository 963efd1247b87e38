"""What keeps a pod from being set up: neither its status nor a log says it, its events do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllama_core.progress import Failure, Told
from vllama_operator import failures, spec, status
from vllama_operator.errors import Rejected
from vllama_operator.listening import Listener
from vllama_operator.observed import Observed

Make = Callable[..., dict[str, Any]]
Body = dict[str, Any]
REF = ("team", "qwen3")
CREATING = {"waiting": {"reason": "ContainerCreating"}}
MISSING = 'MountVolume.SetUp failed for volume "keys" : secret "doors" not found'


def event(second: int, reason: str, note: str = "", *, kind: str = "Normal") -> Body:
    return {"reason": reason, "note": note, "type": kind, "deprecatedLastTimestamp": f"2026-01-01T00:00:{second:02}Z"}


SCHEDULED = event(9, "Scheduled")
FAILED = event(9, "FailedMount", MISSING, kind="Warning")
SUMMARY = event(20, "FailedMount", "Unable to attach or mount volumes: unmounted volumes=[keys]: timed out", kind="Warning")


class Cluster:
    """One that answers what a test says."""

    def __init__(self) -> None:
        self.said: list[Body] | None = []
        self.asked: list[str] = []

    async def log(self, pod: Body, *, container: str, lines: int) -> str:
        self.asked.append("log")
        return ""

    async def events(self, pod: Body) -> list[Body]:
        self.asked.append("events")
        if self.said is None:
            raise Rejected("events is forbidden")
        return self.said


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        ([], None, ""),
        ([SCHEDULED], None, ""),
        ([FAILED, SCHEDULED], "FailedMount", MISSING),
        ([FAILED, SUMMARY], "FailedMount", MISSING),
        ([SUMMARY], "FailedMount", SUMMARY["note"]),
        ([FAILED, event(9, "Pulling")], None, ""),
        ([event(3, "FailedScheduling", "no node", kind="Warning"), SCHEDULED], None, ""),
        ([FAILED, event(20, "FailedScheduling", "no node", kind="Warning")], "FailedMount", MISSING),
        (
            [event(3, "Pulling"), event(4, "FailedCreatePodSandBox", "no network", kind="Warning")],
            "FailedCreatePodSandBox",
            "no network",
        ),
    ],
)
def test_the_newest_of_a_pods_events_tells_whether_it_gets_on(said: list[Body], reason: str | None, message: str) -> None:
    assert failures.of_events(said) == (None if reason is None else Failure(reason, message))


def test_the_time_of_an_event_that_goes_on_is_its_last_one() -> None:
    series = FAILED | {"deprecatedLastTimestamp": None, "series": {"lastObservedTime": "2026-01-01T00:00:30.000000Z"}}
    assert failures.of_events([series, event(20, "Pulling")]) == Failure("FailedMount", MISSING)


async def test_events_are_asked_for_once_a_pod_takes_longer_than_most_and_then_now_and_again(pod: Make) -> None:
    cluster = Cluster()
    listener = Listener(cluster, period=5.0)  # type: ignore[arg-type]
    cluster.said = [FAILED]
    waiting = [pod(state=CREATING)]
    assert await listener.listen(REF, waiting, now=0.0) == Told()
    assert await listener.listen(REF, waiting, now=4.0) == Told()
    assert cluster.asked == []
    found = Told(failure=Failure("FailedMount", MISSING))
    assert await listener.listen(REF, waiting, now=5.0) == found
    assert await listener.listen(REF, waiting, now=9.0) == found
    assert cluster.asked == ["events"]
    cluster.said = None
    assert await listener.listen(REF, waiting, now=10.0) == found, "an API server that does not answer has not mended anything"
    cluster.said = [FAILED, event(40, "Pulled")]
    assert await listener.listen(REF, waiting, now=15.0) == Told()


async def test_a_pod_that_begins_to_run_is_heard_anew(pod: Make) -> None:
    cluster = Cluster()
    listener = Listener(cluster, period=5.0)  # type: ignore[arg-type]
    cluster.said = [FAILED]
    for now in (0.0, 5.0):
        await listener.listen(REF, [pod(state=CREATING)], now=now)
    assert await listener.listen(REF, [pod(state={"running": {}})], now=6.0) == Told()
    assert cluster.asked == ["events", "log"]


async def test_a_pod_that_runs_has_more_to_say_than_one_that_is_being_set_up(pod: Make) -> None:
    cluster = Cluster()
    listener = Listener(cluster, period=5.0)  # type: ignore[arg-type]
    await listener.listen(REF, [pod("qwen3-a", state=CREATING), pod("qwen3-b", state={"running": {}})], now=0.0)
    assert cluster.asked == ["log"]


def test_of_two_pods_that_run_the_newer_one_is_asked(pod: Make) -> None:
    old, new = pod("qwen3-a", state={"running": {}}), pod("qwen3-b", state={"running": {}})
    new["metadata"]["creationTimestamp"] = "2026-01-01T00:05:00Z"
    assert failures.speaker([old, new]) is new


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"state": CREATING}, True),
        ({"state": {"waiting": {"reason": "PodInitializing"}}}, True),
        ({"state": CREATING, "PodScheduled": "False"}, False),
        ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, False),
        ({"state": {"running": {}}}, False),
        ({"state": {"terminated": {"exitCode": 0}}}, False),
    ],
)
def test_a_pod_is_being_set_up_while_no_container_of_it_has_begun(pod: Make, fields: Body, asked: bool) -> None:
    assert failures.is_being_set_up(pod(**fields)) is asked


def test_a_pod_that_its_node_has_only_been_given_is_being_set_up(pod: Make) -> None:
    bare = pod()
    bare["status"] = bare["status"] | {"containerStatuses": [], "phase": "Pending"}
    assert failures.is_being_set_up(bare)


def test_a_volume_that_cannot_be_mounted_is_told_with_a_way_out(serve: Make, pod: Make) -> None:
    body = serve(cache={"mode": "Ephemeral"}, api={"keySecretRef": {"name": "doors"}})
    observed = Observed(serve=body, pods=(pod(state=CREATING),))
    told = Told(failure=Failure("FailedMount", MISSING))
    said = status.status_of(spec.parse(body), observed, told=told, problem=None, before={}, now="2026-01-01T00:10:00Z")
    [ready] = [each for each in said["conditions"] if each["type"] == "Ready"]
    assert (said["phase"], ready["reason"], said["lastFailure"]["pod"]) == ("Failed", "FailedMount", "qwen3-a")
    assert "spec.api.keySecretRef" in ready["message"]
    assert ready["message"].endswith(MISSING)
