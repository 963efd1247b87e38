"""The operator as a process, against a real API server. There is no node: pods are made, and none runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.cluster import Cluster
from kit.serving import children, make, operator, prepare, ready, until


@pytest.fixture
def running(llmserves: Cluster, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    with operator(llmserves, namespace, tmp_path):
        yield llmserves


def test_an_llmserve_becomes_what_serves_it_and_is_collected_with_it(running: Cluster, namespace: str) -> None:
    make(running, namespace, replicas=2, resources={"cpu": "1500m", "memory": "2GiB"})
    wanted = {("Deployment", "qwen3"), ("Service", "qwen3"), ("Service", "qwen3-pods"), ("NetworkPolicy", "qwen3")}
    wanted |= {("PodDisruptionBudget", "qwen3"), ("PersistentVolumeClaim", "qwen3-cache")}
    until(lambda: children(running, namespace) == wanted)
    prepare(running, namespace)
    until(lambda: ready(running, namespace) == ("Pending", "Unschedulable"))

    running.kubectl("scale", "llm/qwen3", "--replicas=1", "-n", namespace)
    until(lambda: children(running, namespace) == wanted - {("PodDisruptionBudget", "qwen3")})

    running.kubectl("delete", "llm", "qwen3", "-n", namespace)
    until(lambda: children(running, namespace) == set(), 90)


def test_drift_is_put_back(running: Cluster, namespace: str) -> None:
    make(running, namespace)
    prepare(running, namespace)
    until(lambda: running.get("deployment", "qwen3", "-n", namespace)["spec"]["replicas"] == 1)
    running.kubectl("scale", "deployment/qwen3", "--replicas=3", "-n", namespace)
    until(lambda: running.get("deployment", "qwen3", "-n", namespace)["spec"]["replicas"] == 1)
    running.kubectl("delete", "service", "qwen3", "-n", namespace)
    until(lambda: ("Service", "qwen3") in children(running, namespace))


def test_what_cannot_be_says_why_and_makes_nothing(running: Cluster, namespace: str) -> None:
    make(running, namespace, engine={"type": "vllm"})
    until(lambda: ready(running, namespace) == ("Failed", "EngineImageMissing"))
    assert children(running, namespace) == set()


def test_a_strangers_service_is_not_taken_over(running: Cluster, namespace: str) -> None:
    running.kubectl("create", "service", "clusterip", "qwen3", "--tcp=80", "-n", namespace)
    make(running, namespace)
    until(lambda: ready(running, namespace)[1] == "NameTaken")
    assert running.get("service", "qwen3", "-n", namespace)["spec"]["ports"][0]["port"] == 80


def test_another_replica_goes_on_when_the_leader_is_killed(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    def holder() -> str:
        leases = llmserves.get("leases", "-n", namespace)["items"]
        return str(leases[0]["spec"]["holderIdentity"]) if leases else ""

    with operator(llmserves, namespace, tmp_path, "first") as first:
        until(lambda: holder() == "first")
        with operator(llmserves, namespace, tmp_path, "second"):
            make(llmserves, namespace)
            until(lambda: ("NetworkPolicy", "qwen3") in children(llmserves, namespace))
            first.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            make(llmserves, namespace, suspend=True)
            until(lambda: ready(llmserves, namespace)[0] == "Suspended")
            assert time.monotonic() - killed < 15
            assert holder() == "second"


def test_fifty_at_once(running: Cluster, namespace: str) -> None:
    for number in range(50):
        make(running, namespace, f"many-{number}", suspend=True)
    until(lambda: len(children(running, namespace)) == 50 * 5, 60)
    until(lambda: all(each.get("status", {}).get("phase") == "Suspended" for each in running.get("llm", "-n", namespace)["items"]), 60)
