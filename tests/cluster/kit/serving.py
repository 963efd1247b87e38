"""The operator as a process beside a test cluster, and what tests ask about its LLMServes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kit import pretend
from kit.cluster import Cluster

SECONDS = 30.0
CHILDREN = "deployments,services,networkpolicies,poddisruptionbudgets,persistentvolumeclaims"
FITS = {
    "version": 1,
    "fits": True,
    "reason": "4096 tokens fit",
    "needed": {"host": 1 << 30, "gpus": 0},
    "available": {"host": 2 << 30, "gpus": []},
    "settings": {"context": 4096},
    "parts": [{"name": "weights", "host": 1 << 30, "gpus": 0}],
    "shape": {"weights": 1 << 30},
    "ways_out": [],
}
"""An answer of `vllama plan`."""


@contextlib.contextmanager
def operator(
    cluster: Cluster, namespace: str, folder: Path, name: str = "operator-1", *, kubeconfig: Path | None = None, config: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A replica, whose namespace is the test's own.

    :param kubeconfig: another way to the API server.
    :param config: the file of its settings.
    """
    own = {"KUBECONFIG": str(kubeconfig or cluster.kubeconfig), "POD_NAME": name, "POD_NAMESPACE": namespace}
    more = {"VLLAMA_OPERATOR_NAMESPACES": namespace, "VLLAMA_OPERATOR_HEALTH_PORT": "0"}
    more |= {"VLLAMA_OPERATOR_CONFIG": str(config)} if config is not None else {}
    with open(folder / f"{name}.log", "ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "vllama_operator"], env=os.environ | own | more, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(found: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What is found, once it is true."""
    limit = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.1)
    return value


def children(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in cluster.get(CHILDREN, "-n", namespace)["items"]}


def make(cluster: Cluster, namespace: str, name: str = "qwen3", **spec: Any) -> None:
    body = {"apiVersion": "vllama.dev/v1alpha1", "kind": "LLMServe", "metadata": {"name": name, "namespace": namespace}}
    cluster.kubectl("apply", "-f", "-", stdin=body | {"spec": {"model": {"source": "qwen3:0.6b"}} | spec})


def ready(cluster: Cluster, namespace: str, name: str = "qwen3") -> tuple[str, str]:
    """Phase, and the reason of the condition Ready."""
    status = cluster.get("llm", name, "-n", namespace).get("status") or {}
    reasons = [each["reason"] for each in status.get("conditions", []) if each["type"] == "Ready"]
    return status.get("phase", ""), "".join(reasons)


def condition(cluster: Cluster, namespace: str, kind: str, name: str = "qwen3") -> dict[str, Any]:
    """A condition; empty: there is none."""
    status = cluster.get("llm", name, "-n", namespace).get("status") or {}
    return next((dict(each) for each in status.get("conditions", []) if each["type"] == kind), {})


def jobs(cluster: Cluster, namespace: str, kind: str, *, of: str | None = None) -> list[str]:
    """Names of the Jobs for a purpose.

    :param of: the LLMServe that made them; None: any.
    """
    chosen = f"vllama.dev/job={kind}" + (f",vllama.dev/llmserve={of}" if of else "")
    found = cluster.get("jobs", "-n", namespace, "-l", chosen)["items"]
    return [each["metadata"]["name"] for each in found]


def prepare(cluster: Cluster, namespace: str, *, answer: dict[str, Any] = FITS) -> None:
    """Be the kubelet for the Jobs that come before pods: plan, then download."""
    for kind, message in (("plan", json.dumps(answer)), ("download", "")):
        [job] = until(lambda kind=kind: jobs(cluster, namespace, kind))
        until(lambda job=job: pretend.pods(cluster, namespace, f"batch.kubernetes.io/job-name={job}"))
        pretend.ends(cluster, namespace, job, message=message)


def events(cluster: Cluster, namespace: str, name: str = "qwen3") -> list[str]:
    """Reasons of an LLMServe's events, the oldest first."""
    found = cluster.get("events.events.k8s.io", "-n", namespace)["items"]
    mine = [each for each in found if each["regarding"]["kind"] == "LLMServe" and each["regarding"]["name"] == name]
    return [each["reason"] for each in sorted(mine, key=lambda each: str(each["eventTime"]))]
