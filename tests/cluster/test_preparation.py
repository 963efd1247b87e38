"""Plan and download before pods serve, on a real API server. There is no node: the tests say what a kubelet would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import pretend
from kit.cluster import Cluster
from kit.serving import FITS, condition, events, jobs, make, operator, prepare, ready, until

TOO_LARGE = FITS | {
    "fits": False, "reason": "even 2048 tokens need 5.0 GiB", "needed": {"host": 5 << 30, "gpus": 0},
    "ways_out": [{"change": "memory", "value": 6, "needed": 5 << 30}],
}  # fmt: skip


@pytest.fixture
def running(llmserves: Cluster, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    with operator(llmserves, namespace, tmp_path):
        yield llmserves


def replicas(cluster: Cluster, namespace: str, name: str = "qwen3") -> int:
    return int(cluster.get("deployment", name, "-n", namespace)["spec"]["replicas"])


def pod_of(cluster: Cluster, namespace: str, selector: str) -> str:
    return str(until(lambda: pretend.pods(cluster, namespace, selector))[0])


def test_a_model_becomes_ready_step_by_step(running: Cluster, namespace: str) -> None:
    make(running, namespace, resources={"memory": "2GiB"})
    until(lambda: ready(running, namespace) == ("Pending", "Planning"))
    assert jobs(running, namespace, "download") == []
    assert replicas(running, namespace) == 0
    [plan] = jobs(running, namespace, "plan")
    [container] = running.get("job", plan, "-n", namespace)["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["plan", "qwen3:0.6b", "--output", "/dev/termination-log", "--memory", str(2 << 30)]
    prepare(running, namespace)

    until(lambda: replicas(running, namespace) == 1)
    until(lambda: jobs(running, namespace, "plan") == [])
    assert running.get("configmap", plan, "-n", namespace)["data"]["plan.json"] == json.dumps(FITS)
    assert condition(running, namespace, "Fits")["status"] == condition(running, namespace, "ModelCached")["status"] == "True"
    assert running.get("llm", "qwen3", "-n", namespace)["status"]["sizing"]["contextLength"] == 4096

    pretend.is_ready(running, namespace, pod_of(running, namespace, "app.kubernetes.io/name=vllama"))
    until(lambda: ready(running, namespace) == ("Ready", "Serving"))
    told = events(running, namespace)
    assert (told[0], told[-1]) == ("Planning", "Serving")
    assert all(one != other for one, other in itertools.pairwise(told)), "none is repeated"
    assert told.count("Unschedulable") == 2, "there is no node: neither for the download nor for what serves"


def test_what_does_not_fit_is_told_before_anything_is_scheduled(running: Cluster, namespace: str) -> None:
    make(running, namespace)
    [plan] = until(lambda: jobs(running, namespace, "plan"))
    pod_of(running, namespace, f"batch.kubernetes.io/job-name={plan}")
    pretend.ends(running, namespace, plan, message=json.dumps(TOO_LARGE))
    until(lambda: ready(running, namespace) == ("Failed", "DoesNotFit"))
    assert "it takes 5.0 GiB" in condition(running, namespace, "Fits")["message"]
    assert "it would fit with 6 GiB of memory" in condition(running, namespace, "Ready")["message"]
    assert (replicas(running, namespace), jobs(running, namespace, "download")) == (0, [])

    make(running, namespace, resources={"contextLength": 2048})
    until(lambda: (jobs(running, namespace, "plan") or [plan]) != [plan], 30)
    until(lambda: plan not in [each["metadata"]["name"] for each in running.get("configmaps", "-n", namespace)["items"]])
    prepare(running, namespace)
    until(lambda: replicas(running, namespace) == 1)


def test_a_known_plan_is_not_made_again(running: Cluster, namespace: str) -> None:
    make(running, namespace, "first", cache={"claimName": "models"})
    prepare(running, namespace)
    until(lambda: replicas(running, namespace, "first") == 1)
    make(running, namespace, "second", cache={"claimName": "models"})
    until(lambda: replicas(running, namespace, "second") == 1)
    assert jobs(running, namespace, "plan") == []
    assert len(jobs(running, namespace, "download")) == 1, "one download fills the claim for both"


def test_a_gated_repository_fails_with_its_reason_until_it_is_repaired(running: Cluster, namespace: str) -> None:
    make(running, namespace)
    [plan] = until(lambda: jobs(running, namespace, "plan"))
    pod_of(running, namespace, f"batch.kubernetes.io/job-name={plan}")
    pretend.ends(running, namespace, plan, message="vllama: org/model is gated", exit_code=1)
    [download] = until(lambda: jobs(running, namespace, "download"))
    assert condition(running, namespace, "Fits")["reason"] == "PlanFailed"
    pod = pod_of(running, namespace, f"batch.kubernetes.io/job-name={download}")
    said = json.dumps({"failure": {"reason": "AccessDenied", "message": "org/model is gated"}})
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": said, "finishedAt": "2026-01-01T00:00:00Z"}}
    pretend.waits(running, namespace, pod, reason="CrashLoopBackOff", last=last)
    until(lambda: ready(running, namespace) == ("Failed", "AccessDenied"))
    status = running.get("llm", "qwen3", "-n", namespace)["status"]
    assert status["lastFailure"]["message"].endswith("org/model is gated")
    pretend.ends(running, namespace, download)
    until(lambda: condition(running, namespace, "ModelCached")["status"] == "True")
    until(lambda: "lastFailure" not in running.get("llm", "qwen3", "-n", namespace)["status"])
    assert events(running, namespace).count("AccessDenied") == 1


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CreateContainerConfigError"])
def test_a_pods_failure_is_told_once_and_gone_after_the_repair(running: Cluster, namespace: str, reason: str) -> None:
    make(running, namespace)
    prepare(running, namespace)
    pod = pod_of(running, namespace, "app.kubernetes.io/name=vllama")
    pretend.waits(running, namespace, pod, reason=reason, message="no such thing")
    until(lambda: ready(running, namespace) == ("Failed", reason))
    pretend.is_ready(running, namespace, pod)
    until(lambda: ready(running, namespace) == ("Ready", "Serving"))
    assert "lastFailure" not in running.get("llm", "qwen3", "-n", namespace)["status"]
    assert events(running, namespace).count(reason) == 1


def test_what_serves_goes_on_while_another_quantization_is_fetched(running: Cluster, namespace: str) -> None:
    make(running, namespace)
    prepare(running, namespace)
    pod = pod_of(running, namespace, "app.kubernetes.io/name=vllama")
    pretend.is_ready(running, namespace, pod)
    until(lambda: ready(running, namespace)[0] == "Ready")
    [former] = jobs(running, namespace, "download")
    running.kubectl("patch", "llm", "qwen3", "-n", namespace, "--type=merge", "-p", '{"spec": {"model": {"quantization": "Q8_0"}}}')
    until(lambda: ready(running, namespace)[1] == "Planning")
    assert condition(running, namespace, "Available")["status"] == "True"
    assert pretend.pods(running, namespace, "app.kubernetes.io/name=vllama") == [pod]
    until(lambda: former not in jobs(running, namespace, "download"))
    prepare(running, namespace)
    until(lambda: len(pretend.pods(running, namespace, "app.kubernetes.io/name=vllama")) == 2, 30)
