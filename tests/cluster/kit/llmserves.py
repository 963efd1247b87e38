"""LLMServes as tests make and read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kit.cluster import Cluster

DEMO = "gemma3-270m-base.gguf"
"""The file of the demo model in the volume that the tests with nodes share."""


def make(cluster: Cluster, namespace: str, name: str, **spec: Any) -> None:
    """Apply one."""
    metadata = {"name": name, "namespace": namespace}
    cluster.kubectl("apply", "-f", "-", stdin={"apiVersion": "vllama.dev/v1alpha1", "kind": "LLMServe", "metadata": metadata, "spec": spec})


def claim(cluster: Cluster, namespace: str, name: str, folder: str, *, mode: str = "ReadOnlyMany") -> None:
    """A volume claim of a folder of the nodes.

    :param mode: how pods may use it: they only read what somebody has filled.
    """
    common = {"accessModes": [mode], "storageClassName": ""}
    wanted, volume = {"namespace": namespace, "name": name}, f"{namespace}-{name}"
    disk = common | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": folder}, "claimRef": wanted}
    asked = common | {"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
    for made in (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": disk},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": wanted, "spec": asked},
    ):
        cluster.kubectl("apply", "-f", "-", stdin=made)


def condition(cluster: Cluster, namespace: str, name: str, kind: str) -> dict[str, str]:
    """A condition of its status; empty while there is none."""
    status = cluster.get("llm", name, "-n", namespace).get("status", {})
    return next((each for each in status.get("conditions", ()) if each["type"] == kind), {})


def events(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    """What the operator has said of it, oldest first."""
    chosen = f"involvedObject.kind=LLMServe,involvedObject.name={name}"
    return list(cluster.get("events", "-n", namespace, f"--field-selector={chosen}", "--sort-by=.metadata.creationTimestamp")["items"])


def until(found: Callable[[], Any], seconds: float) -> Any:
    """What is found, once it is true.

    :raises AssertionError: it did not come about in time.
    """
    limit = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < limit, f"it did not come about in {seconds:g} s"
        time.sleep(0.2)
    return value
