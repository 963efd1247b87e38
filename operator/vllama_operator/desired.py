"""All objects that an LLMServe is made of. Pure. Knows Kubernetes objects, never a cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vllama_operator import names, plans, pods
from vllama_operator.plans import Question
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec

Json = Mapping[str, Any]
PORTS = [{"name": "http", "port": pods.PORT, "targetPort": "http", "protocol": "TCP"}]
REVISIONS = 3
"""Old ReplicaSets that stay for `kubectl rollout undo`."""
LATE_SECONDS = 600
"""Beyond the time that a pod may take to start, until a rollout counts as stuck."""


def objects(spec: ServeSpec, settings: Settings) -> list[dict[str, Any]]:
    """What should be there once all is prepared, in the order in which it is made.

    :raises SpecError: the LLMServe asks for what this cluster lacks.
    """
    made = [_deployment(spec, settings), _service(spec), _headless(spec), _network_policy(spec, settings)]
    if not spec.ephemeral and spec.claim is None:
        made.insert(0, _claim(spec, settings))
    if spec.replicas >= 2:  # a budget for a single one would only keep its node from being drained
        made.append(_disruption_budget(spec))
    return [_digested(each) for each in made]


def plan(spec: ServeSpec, *, name: str, asked: Question, answer: str) -> dict[str, Any]:
    """A plan, for all LLMServes of the namespace that ask the same."""
    made = owned(spec, api="v1", kind="ConfigMap", name=name, body={})
    del made["spec"]
    made["metadata"]["labels"] = names.job_labels(spec.name, "plan")
    return made | {"data": {plans.ANSWER: answer, plans.QUESTION: json.dumps(asdict(asked), sort_keys=True)}}


def url(spec: ServeSpec) -> str:
    """Where it answers inside the cluster."""
    return f"http://{names.base(spec.name)}.{spec.namespace}.svc:{pods.PORT}"


def is_rolled_out(objects: list[dict[str, Any]], there: Json | None) -> bool:
    """The Deployment is already the wanted one.

    :param there: as it is.
    """
    [wanted] = [each for each in objects if each["kind"] == "Deployment"]
    return there is not None and _digest(wanted) == _digest(there)


def _digest(body: Json) -> Any:
    return (body["metadata"].get("annotations") or {}).get(names.DIGEST)


def held(objects: list[dict[str, Any]], there: Json | None, *, stop: bool) -> list[dict[str, Any]]:
    """The same while no new pods may come.

    :param there: the Deployment as it is.
    :param stop: it loses its pods, unless one serves.
    """
    return [_held(each, there, stop=stop) if each["kind"] == "Deployment" else each for each in objects]


def _held(wanted: dict[str, Any], there: Json | None, *, stop: bool) -> dict[str, Any]:
    if there is not None and (not stop or (there.get("status") or {}).get("readyReplicas")):
        return dict(there)
    bare = {key: value for key, value in wanted["metadata"].items() if key != "annotations"}
    return _digested({**wanted, "metadata": bare, "spec": {**wanted["spec"], "replicas": 0}})


def owned(spec: ServeSpec, *, api: str, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """An object that goes when the LLMServe does.

    :param body: its spec.
    """
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": spec.name,
        "uid": spec.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # to block needs a right on finalizers that nothing else here needs
    }
    metadata = {"name": name, "namespace": spec.namespace, "labels": names.labels(spec.name), "ownerReferences": [owner]}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": body}


def _digested(manifest: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]
    manifest["metadata"]["annotations"] = {names.DIGEST: digest}
    return manifest


def _deployment(spec: ServeSpec, settings: Settings) -> dict[str, Any]:
    body = {
        "replicas": spec.replicas,
        "revisionHistoryLimit": REVISIONS,
        "progressDeadlineSeconds": settings.start_seconds + LATE_SECONDS,
        "selector": {"matchLabels": names.selector(spec.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": spec.max_surge, "maxUnavailable": spec.max_unavailable}},
        "template": pods.template(spec, settings),
    }
    return owned(spec, api="apps/v1", kind="Deployment", name=names.base(spec.name), body=body)


def _service(spec: ServeSpec) -> dict[str, Any]:
    body = {"type": "ClusterIP", "selector": names.selector(spec.name), "ports": PORTS}
    return owned(spec, api="v1", kind="Service", name=names.base(spec.name), body=body)


def _headless(spec: ServeSpec) -> dict[str, Any]:
    """For clients and gateways that choose among the replicas themselves."""
    body = {"type": "ClusterIP", "clusterIP": "None", "selector": names.selector(spec.name), "ports": PORTS}
    return owned(spec, api="v1", kind="Service", name=names.headless(spec.name), body=body)


def _network_policy(spec: ServeSpec, settings: Settings) -> dict[str, Any]:
    """Nothing but the agent's port, and that only for those whom the cluster's owner lets in. What leaves is free: models are fetched."""
    body = {
        "podSelector": {"matchLabels": names.selector(spec.name)},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [dict(peer) for peer in settings.clients], "ports": [{"protocol": "TCP", "port": "http"}]}],
    }
    if not settings.clients:  # an empty `from` would let everybody in
        body["ingress"] = []
    return owned(spec, api="networking.k8s.io/v1", kind="NetworkPolicy", name=names.base(spec.name), body=body)


def _disruption_budget(spec: ServeSpec) -> dict[str, Any]:
    body = {"maxUnavailable": 1, "selector": {"matchLabels": names.selector(spec.name)}}
    return owned(spec, api="policy/v1", kind="PodDisruptionBudget", name=names.base(spec.name), body=body)


def _claim(spec: ServeSpec, settings: Settings) -> dict[str, Any]:
    body: dict[str, Any] = {
        "accessModes": [settings.cache_access_mode],
        "resources": {"requests": {"storage": str(spec.cache_bytes or settings.cache_bytes)}},
    }
    if spec.storage_class is not None:
        body["storageClassName"] = spec.storage_class
    return owned(spec, api="v1", kind="PersistentVolumeClaim", name=names.cache(spec.name), body=body)
