"""What a person is told when pods truly fail: within a minute, by one reason that says what to do, and once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit import llmserves
from kit.cluster import NodeCluster

pytestmark = pytest.mark.slow

SECONDS = 60.0
GPU = "/status/capacity/nvidia.com~1gpu"
SOURCE = {"source": "pvc://models/nothing.gguf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A wrong LLMServe.

    :ivar reason: of its condition Ready, and of the event.
    :ivar says: what both tell.
    :ivar repeated: the fault has come up again since, so that a second event would have been written by now.
    """

    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    reason: str
    says: str
    repeated: Callable[[dict[str, Any]], bool]


def restarted(pod: dict[str, Any]) -> bool:
    return any(each["restartCount"] >= 2 for each in pod["status"].get("containerStatuses", ()))


def backed_off(pod: dict[str, Any]) -> bool:
    return any(each["state"].get("waiting", {}).get("reason") == "ImagePullBackOff" for each in pod["status"].get("containerStatuses", ()))


def always(_: dict[str, Any]) -> bool:
    return True


FAULTS = (
    Fault(
        name="memory", spec={"resources": {"memory": "24Mi"}}, reason="OOMKilled", says="raise spec.resources.memory", repeated=restarted
    ),
    Fault(
        name="image",
        spec={"engine": {"image": "localhost/nothing:1"}},
        reason="ImagePullBackOff",
        says="localhost/nothing:1",
        repeated=backed_off,
    ),
    Fault(
        name="token",
        spec={"model": SOURCE | {"secretRef": {"name": "no-such-token"}}},
        reason="CreateContainerConfigError",
        says='secret "no-such-token" not found',
        repeated=always,
    ),
    Fault(name="model", reason="AgentFailed", says="nothing.gguf", repeated=restarted),
    Fault(name="gpu", spec={"profile": "gpu"}, reason="Unschedulable", says="nvidia.com/gpu", repeated=always),
)


@pytest.fixture(scope="module")
def broken(site: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace with all of them at once: the minute is each one's own, and they share it."""
    name = "vllama-faults"
    site.kubectl("create", "namespace", name)
    folder = tmp_path_factory.mktemp("nothing")
    folder.chmod(0o755)
    llmserves.claim(site, name, "models", str(folder))
    for fault in FAULTS:
        llmserves.make(site, name, fault.name, **{"model": SOURCE, "cache": {"mode": "Ephemeral"}} | fault.spec)
    return name


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_within_a_minute_and_once(site: NodeCluster, broken: str, fault: Fault) -> None:
    ready = llmserves.until(lambda: told(site, broken, fault), SECONDS)
    assert fault.says in ready["message"]
    llmserves.until(lambda: all(fault.repeated(pod) for pod in pods(site, broken, fault.name)), SECONDS)
    said = [event for event in llmserves.events(site, broken, fault.name) if event["reason"] == fault.reason]
    assert [fault.says in event["message"] for event in said] == [True]
    assert told(site, broken, fault)


def told(site: NodeCluster, namespace: str, fault: Fault) -> dict[str, str] | None:
    ready = llmserves.condition(site, namespace, fault.name, "Ready")
    return ready if ready.get("reason") == fault.reason else None


def pods(site: NodeCluster, namespace: str, serve: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.get("pods", "-n", namespace, "-l", f"app.kubernetes.io/name=vllama,vllama.dev/llmserve={serve}")[
        "items"
    ]
    return found


def test_a_gpu_that_comes_is_used(site: NodeCluster, broken: str) -> None:
    """A node says that it has some; there is none, so the pod gets no further than to that node."""
    site.kubectl(
        "patch", "node", "node-2", "--subresource=status", "--type=json", "-p", json.dumps([{"op": "add", "path": GPU, "value": "8"}])
    )
    llmserves.until(lambda: llmserves.condition(site, broken, "gpu", "Scheduled").get("status") == "True", SECONDS)
    [pod] = pods(site, broken, "gpu")
    assert pod["spec"]["nodeName"] == "node-2"


def test_a_repaired_fault_is_forgotten(site: NodeCluster, broken: str) -> None:
    """The right image, and a memory limit that an agent can start in; it goes on to the next thing that is wrong."""
    for name in ("image", "memory"):
        patch = [{"op": "remove", "path": "/spec/engine"}] if name == "image" else [{"op": "remove", "path": "/spec/resources/memory"}]
        site.kubectl("patch", "llm", name, "-n", broken, "--type=json", "-p", json.dumps(patch))
    for name in ("image", "memory"):
        llmserves.until(lambda name=name: llmserves.condition(site, broken, name, "Ready").get("reason") == "AgentFailed", SECONDS)
        assert site.get("llm", name, "-n", broken)["status"]["lastFailure"]["reason"] == "AgentFailed"
