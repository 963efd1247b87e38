"""The operator where the API server fails, where it is killed or stopped itself, and where much happens at once."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import faulty
from kit.cluster import Cluster
from kit.faulty import Fault
from kit.serving import CHILDREN, children, make, operator, ready, until

from vllama_operator import pods

SUSPENDED = 5
"""Children of a suspended LLMServe."""
UNDEFINED = "the API server knows no LLMServe: kubectl apply"


def undefine(cluster: Cluster) -> None:
    cluster.kubectl("delete", "crd", "llmserves.vllama.dev", "--timeout=30s")


def serve(name: str, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "vllama.dev/v1alpha1", "kind": "LLMServe", "metadata": {"name": name}}
    return body | {"spec": {"model": {"source": "qwen3:0.6b"}, "suspend": True} | spec}


def apply(cluster: Cluster, namespace: str, *bodies: dict[str, Any]) -> None:
    """All by one kubectl."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": list(bodies)})


def phases(cluster: Cluster, namespace: str) -> list[str]:
    return [(each.get("status") or {}).get("phase", "") for each in cluster.get("llm", "-n", namespace)["items"]]


def holder(cluster: Cluster, namespace: str) -> str:
    leases = cluster.get("leases", "-n", namespace)["items"]
    return str(leases[0]["spec"].get("holderIdentity") or "") if leases else ""


@pytest.mark.parametrize("fault", [429, 500, 503, "reset", "silence"])
def test_an_api_server_that_fails_now_and_then_is_asked_again(llmserves: Cluster, namespace: str, tmp_path: Path, fault: Fault) -> None:
    with faulty.way(llmserves, tmp_path) as way:
        way.fault = faulty.now_and_then(fault, share=0.1 if fault == "silence" else 0.25)
        with operator(llmserves, namespace, tmp_path, kubeconfig=way.kubeconfig):
            apply(llmserves, namespace, *(serve(f"m-{number}") for number in range(3)))
            until(lambda: phases(llmserves, namespace) == ["Suspended"] * 3, 90)
            assert len(children(llmserves, namespace)) == 3 * SUSPENDED


def test_a_watch_that_is_too_old_begins_anew_and_misses_nothing(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    gone = 0

    def now_and_then(method: str, path: str, watch: bool) -> Fault:
        nonlocal gone
        gone += watch
        return "gone" if watch and gone % 2 else None

    with faulty.way(llmserves, tmp_path) as way:
        way.fault = now_and_then
        with operator(llmserves, namespace, tmp_path, kubeconfig=way.kubeconfig):
            make(llmserves, namespace, suspend=True)
            until(lambda: ready(llmserves, namespace) == ("Suspended", "Suspended"))
            llmserves.kubectl("delete", "service", "qwen3", "-n", namespace)
            until(lambda: ("Service", "qwen3") in children(llmserves, namespace))
    assert gone > len(CHILDREN.split(","))


@pytest.mark.parametrize("fault", ["error", "garbled", "unknown", 410, 429, 500])
def test_the_operator_outlives_watches_that_fail(llmserves: Cluster, namespace: str, tmp_path: Path, fault: Fault) -> None:
    """Its first ones do; where kopf gives up, all begins anew in the same process, which no kubelet holds back."""
    watches = 0

    def at_first(method: str, path: str, watch: bool) -> Fault:
        nonlocal watches
        watches += watch
        return fault if watch and watches <= 3 else None

    with faulty.way(llmserves, tmp_path) as way:
        way.fault = at_first
        with operator(llmserves, namespace, tmp_path, kubeconfig=way.kubeconfig) as process:
            until(lambda: watches > 3)
            make(llmserves, namespace, suspend=True)
            until(lambda: ready(llmserves, namespace) == ("Suspended", "Suspended"), 60)
            llmserves.kubectl("delete", "service", "qwen3", "-n", namespace)
            until(lambda: ("Service", "qwen3") in children(llmserves, namespace))
            assert process.poll() is None


@pytest.mark.parametrize("since", ["the start", "later"])
def test_the_operator_serves_as_soon_as_llmserves_are_defined(
    llmserves: Cluster, namespace: str, tmp_path: Path, define: Callable[[], None], since: str
) -> None:
    if since == "the start":
        undefine(llmserves)
    with operator(llmserves, namespace, tmp_path) as process:
        if since == "later":
            make(llmserves, namespace, suspend=True)
            until(lambda: ready(llmserves, namespace) == ("Suspended", "Suspended"))
            undefine(llmserves)
        until(lambda: UNDEFINED in (tmp_path / "operator-1.log").read_text())
        define()
        make(llmserves, namespace, suspend=True)
        until(lambda: ready(llmserves, namespace) == ("Suspended", "Suspended"))
        assert process.poll() is None


@pytest.mark.usefixtures("define")
def test_the_operator_ends_by_a_signal_while_it_waits_to_begin_anew(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    undefine(llmserves)
    with operator(llmserves, namespace, tmp_path) as process:
        until(lambda: UNDEFINED in (tmp_path / "operator-1.log").read_text())
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_leader_that_was_stopped_writes_nothing_when_it_goes_on(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    with (
        faulty.way(llmserves, tmp_path, "first") as way,
        operator(llmserves, namespace, tmp_path, "first", kubeconfig=way.kubeconfig) as first,
    ):
        until(lambda: holder(llmserves, namespace) == "first")
        make(llmserves, namespace, suspend=True)
        until(lambda: ready(llmserves, namespace)[0] == "Suspended")
        with operator(llmserves, namespace, tmp_path, "second"):
            first.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            make(llmserves, namespace, "other", suspend=True)
            until(lambda: ready(llmserves, namespace, "other")[0] == "Suspended")
            assert time.monotonic() - stopped < 15
            assert holder(llmserves, namespace) == "second"
            written = len([request for request in way.seen if request.writes])
            first.send_signal(signal.SIGCONT)
            went_on = time.monotonic()
            make(llmserves, namespace, "third", suspend=True)
            llmserves.kubectl("delete", "service", "qwen3", "-n", namespace)
            until(lambda: ready(llmserves, namespace, "third")[0] == "Suspended")
            until(lambda: ("Service", "qwen3") in children(llmserves, namespace))
            until(lambda: any("/leases" in request.path and request.at > went_on for request in way.seen))
            assert len([request for request in way.seen if request.writes]) == written
            assert holder(llmserves, namespace) == "second"


def test_a_deletion_while_no_operator_runs_leaves_nothing(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator(llmserves, namespace, tmp_path):
        make(llmserves, namespace)
        until(lambda: ready(llmserves, namespace) == ("Pending", "Planning"))
    llmserves.kubectl("delete", "llm", "qwen3", "-n", namespace, "--timeout=10s")
    everything = f"{CHILDREN},jobs,pods,replicasets"
    until(lambda: llmserves.get(everything, "-n", namespace)["items"] == [], 90)
    assert [each["metadata"]["name"] for each in llmserves.get("configmaps", "-n", namespace)["items"]] == ["kube-root-ca.crt"]


@pytest.mark.slow
def test_the_wanted_state_comes_about_however_often_the_operator_is_killed(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    """Fifty changes in ten rounds; in each the operator is killed as soon as it has begun to act on them."""
    drains: dict[str, int] = {}
    for round_ in range(10):
        changes = {f"m-{(round_ * 3 + step) % 12}": 100 * round_ + step for step in range(5)}
        drains |= changes
        apply(llmserves, namespace, *(serve(name, rollout={"drainSeconds": seconds}) for name, seconds in changes.items()))
        wanted = graces(changes).items()
        with operator(llmserves, namespace, tmp_path) as process:
            until(lambda wanted=wanted: wanted & _graces(llmserves, namespace).items())
            process.send_signal(signal.SIGKILL)
            process.wait()
        if round_ == 5:
            llmserves.kubectl("delete", "llm", "m-0", "-n", namespace)
            drains.pop("m-0", None)
    with operator(llmserves, namespace, tmp_path):
        until(lambda: _graces(llmserves, namespace) == graces(drains), 60)
        until(lambda: len(children(llmserves, namespace)) == len(drains) * SUSPENDED, 90)
        until(lambda: set(phases(llmserves, namespace)) == {"Suspended"})


def graces(drains: dict[str, int]) -> dict[str, int]:
    """Of pods, by their `drainSeconds`."""
    return {name: pods.LEAVE_SECONDS + pods.PART_SECONDS + seconds + pods.SPARE_SECONDS for name, seconds in drains.items()}


def _graces(cluster: Cluster, namespace: str) -> dict[str, int]:
    found = cluster.get("deployments", "-n", namespace)["items"]
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for each in found}


@pytest.mark.slow
def test_two_hundred_at_once(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator(llmserves, namespace, tmp_path) as process:
        apply(llmserves, namespace, *(serve(f"many-{number}") for number in range(200)))
        until(lambda: phases(llmserves, namespace) == ["Suspended"] * 200, 120)
        assert len(children(llmserves, namespace)) == 200 * SUSPENDED
        assert _resident(process) < 150 << 20


def _resident(process: subprocess.Popen[bytes]) -> int:
    """Bytes of memory."""
    [line] = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10
