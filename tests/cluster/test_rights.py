"""The chart's rights against the audit log: what the operator was granted it uses, and nothing that it asks for is forbidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from kit import audit, llmserves, operators, pretend, serving
from kit import cluster as clusters
from kit.cluster import Cluster
from kit.operators import Installation

SECONDS = 30.0
Right = tuple[str, str]
"""Resource with subresource and group, as `audit.Request` has it, and verb."""


@pytest.fixture(scope="module")
def audited(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server that writes down what it is asked."""
    with clusters.running(tmp_path_factory.mktemp("audited") / "state", programs=programs, audit=True) as cluster:
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Active", "--timeout=60s", "namespace/default")
        yield cluster


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_each_right_is_used_and_none_is_missing(audited: Cluster, tmp_path: Path, scope: str) -> None:
    team = f"team-{scope}"
    audited.kubectl("create", "namespace", team)
    installation = operators.install(audited, f"system-{scope}", tmp_path, watched=(team,) if scope == "namespace" else ())
    try:
        for name in ("first", "second"):
            with installation.running(name):
                live(audited, team, name, gpus=scope == "cluster")
        assert audited.audit_log is not None
        asked = audit.requests(audited.audit_log.read_text().splitlines())
        mine = [request for request in asked if request.user == installation.user and not request.resource.startswith("/")]
        granted = rights(audited, installation, team)
        assert [request for request in mine if not request.allowed] == []
        used = {(request.resource, request.verb) for request in mine}
        assert sorted(granted - used) == []
        assert sorted(used - granted) == []
    finally:
        audited.helm("uninstall", "vllama", "--namespace", installation.namespace)


def live(cluster: Cluster, namespace: str, name: str, *, gpus: bool) -> None:
    """All that happens to an LLMServe: made, planned, fetched, changed, scaled, tampered with, removed.

    :param gpus: another asks for one: nodes, which are in no namespace, are looked at.
    """
    if gpus:
        llmserves.make(cluster, namespace, f"{name}-gpu", model={"source": name}, resources={"accelerator": "nvidia"})
        llmserves.until(lambda: told(cluster, namespace, f"{name}-gpu", "Fits") == "GpuMemoryUnknown", SECONDS)
        cluster.kubectl("delete", "llm", f"{name}-gpu", "-n", namespace)
    llmserves.make(cluster, namespace, name, model={"source": name}, replicas=2)
    planned(cluster, namespace, name)
    [fetching] = llmserves.until(lambda: serving.jobs(cluster, namespace, "download", of=name), SECONDS)
    [pod] = llmserves.until(lambda: pretend.pods(cluster, namespace, f"batch.kubernetes.io/job-name={fetching}"), SECONDS)
    pretend.runs(cluster, namespace, pod)
    llmserves.until(lambda: told(cluster, namespace, name, "Ready") == "Downloading", SECONDS)
    pretend.has_a_node(cluster, namespace, pod)
    pretend.waits(cluster, namespace, pod, reason="ContainerCreating")
    pretend.says(cluster, namespace, pod, reason="FailedMount", message='secret "doors" not found')
    llmserves.until(lambda: told(cluster, namespace, name, "Ready") == "FailedMount", SECONDS)
    pretend.ends(cluster, namespace, fetching)
    llmserves.until(lambda: told(cluster, namespace, name, "ModelCached") == "Cached", SECONDS)
    cluster.kubectl("patch", "llm", name, "-n", namespace, "--type=merge", "-p", '{"spec": {"resources": {"contextLength": 2048}}}')
    planned(cluster, namespace, name)
    llmserves.until(lambda: llmserves.condition(cluster, namespace, name, "Ready").get("reason") == "Unschedulable", SECONDS)
    cluster.kubectl("scale", f"llm/{name}", "-n", namespace, "--replicas=1")
    cluster.kubectl("wait", "-n", namespace, "--for=delete", f"pdb/{name}", "--timeout=30s")
    for kind, patch in (
        ("deployment", {"spec": {"replicas": 3}}),
        ("service", {"spec": {"selector": {"app.kubernetes.io/name": "other"}}}),
        ("networkpolicy", {"spec": {"ingress": []}}),
    ):
        before = cluster.get(kind, name, "-n", namespace)["spec"]
        cluster.kubectl("patch", kind, name, "-n", namespace, "-p", json.dumps(patch))
        llmserves.until(lambda kind=kind, before=before: cluster.get(kind, name, "-n", namespace)["spec"] == before, SECONDS)
    cluster.kubectl("delete", "llm", name, "-n", namespace)


def planned(cluster: Cluster, namespace: str, name: str) -> None:
    """The plan's Job answers, and is gone when its answer is written down."""
    [asking] = llmserves.until(lambda: serving.jobs(cluster, namespace, "plan", of=name), SECONDS)
    llmserves.until(lambda: pretend.pods(cluster, namespace, f"batch.kubernetes.io/job-name={asking}"), SECONDS)
    pretend.ends(cluster, namespace, asking, message=json.dumps(serving.FITS))
    llmserves.until(lambda: told(cluster, namespace, name, "Fits") == "Fits", SECONDS)
    llmserves.until(lambda: serving.jobs(cluster, namespace, "plan", of=name) == [], SECONDS)


def told(cluster: Cluster, namespace: str, name: str, kind: str) -> str:
    """The reason of a condition."""
    return llmserves.condition(cluster, namespace, name, kind).get("reason", "")


def rights(cluster: Cluster, installation: Installation, namespace: str) -> set[Right]:
    """Those of the Roles that the chart made for its service account."""
    found = [*cluster.get("roles", "-n", namespace)["items"], *cluster.get("roles", "-n", installation.namespace)["items"]]
    found += cluster.get("clusterroles", "-l", "app.kubernetes.io/managed-by=Helm")["items"]
    return {right for role in found for rule in role["rules"] for right in expanded(rule)}


def expanded(rule: dict[str, Any]) -> set[Right]:
    named = (f"{resource}.{group}" if group else resource for group, resource in product(rule["apiGroups"], rule["resources"]))
    return set(product(named, rule["verbs"]))
