"""Where the API server has the kinds that the operator reads and writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllama_operator import names

PATHS = {
    names.KIND: (f"/apis/{names.API_VERSION}", names.PLURAL),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Service": ("/api/v1", "services"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Node": ("/api/v1", "nodes"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
}
"""Kind: (path of its group and version, plural)."""
WATCHED = (names.KIND, "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim", "ConfigMap", "Job", "Pod")


def collection(kind: str, namespace: str | None) -> str:
    """The path of all of a kind.

    :param namespace: None = in all namespaces.
    """
    group, plural = PATHS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" if namespace else f"{group}/{plural}"


def path(body: Mapping[str, Any]) -> str:
    """The path of an object."""
    metadata = body["metadata"]
    return f"{collection(body['kind'], metadata['namespace'])}/{metadata['name']}"


def selector(kind: str) -> str | None:
    """Which objects of a kind concern us; None = all. The API server filters, so that other people's pods cost nothing here."""
    return None if kind == names.KIND else names.SERVE_LABEL
