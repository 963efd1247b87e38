"""The Jobs that plan and fetch before pods serve, in the agent's image. Pure. Knows Kubernetes objects, never a cluster."""

from __future__ import annotations

import hashlib
from typing import Any

from vllama_operator import names, plans, pods
from vllama_operator.desired import owned
from vllama_operator.plans import Question
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec

MANY = 1_000_000
"""Attempts, which the kubelet makes later and later, up to minutes apart: what a download fails of is often repaired from outside."""
PLAN_SECONDS = 900
"""After which a plan is given up: an image may take minutes to fetch, and longer has never helped."""
PLAN_STAYS = 3600
"""Seconds that a failed plan stays; then it is tried again."""
# Neither is bounded: a hash or a conversion may take what the node has, and the plan tells what the node has.
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}}
_LEFT_OUT = ("config", "keys", "shm")
"""Volumes that only a serving agent reads."""


def plan(spec: ServeSpec, settings: Settings, asked: Question, *, gpu_memory: int | None) -> dict[str, Any]:
    """Asks `vllama plan`, whose answer becomes the container's termination message."""
    words = plans.words(asked, gpu_memory=gpu_memory)
    body = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": PLAN_SECONDS,
        "ttlSecondsAfterFinished": PLAN_STAYS,
        "template": _template(spec, settings, job="plan", words=words, restart="Never"),
    }
    return _job(spec, name=names.plan(plans.key(asked)), job="plan", body=body)


def download(spec: ServeSpec, settings: Settings) -> dict[str, Any]:
    """Fetches the model into the claim. It stays when it is done, and so tells that this has happened."""
    words = ["pull", spec.ref, "--if-missing", "--progress", "json", *(["--format", spec.form] if spec.form else [])]
    body = {"backoffLimit": MANY, "template": _template(spec, settings, job="download", words=words, restart="OnFailure")}
    return _job(spec, name=download_name(spec), job="download", body=body)


def download_name(spec: ServeSpec) -> str:
    """The same for all LLMServes of a namespace that want this model in this claim."""
    text = "\n".join((spec.ref, claim(spec), *([spec.form] if spec.form else [])))
    return names.download(hashlib.sha256(text.encode()).hexdigest()[: plans.KEY_LENGTH])


def claim(spec: ServeSpec) -> str:
    """The claim that the models lie in."""
    return spec.claim or names.cache(spec.name)


def _job(spec: ServeSpec, *, name: str, job: str, body: dict[str, Any]) -> dict[str, Any]:
    made = owned(spec, api="batch/v1", kind="Job", name=name, body=body)
    made["metadata"]["labels"] = names.job_labels(spec.name, job)
    return made


def _template(spec: ServeSpec, settings: Settings, *, job: str, words: list[str], restart: str) -> dict[str, Any]:
    """As the agents' pods, where they can run, but with no GPU, port or probe, and nothing in them that would not end."""
    agent = pods.template(spec, settings)["spec"]
    [like] = [each for each in agent["containers"] if each["name"] == pods.AGENT]
    mounts = [each for each in like["volumeMounts"] if each["name"] not in _LEFT_OUT]
    kept = ("name", "image", "imagePullPolicy", "env", "envFrom", "securityContext", "terminationMessagePolicy")
    container = {field: like[field] for field in kept if field in like}
    container |= {"args": words, "resources": RESOURCES, "volumeMounts": mounts}
    mounted = {each["name"] for each in mounts}
    dropped = ("containers", "volumes", "terminationGracePeriodSeconds", "topologySpreadConstraints", "runtimeClassName")
    body = {field: value for field, value in agent.items() if field not in dropped}
    body |= {"restartPolicy": restart, "containers": [container]}
    body["volumes"] = [each for each in agent["volumes"] if each["name"] in mounted]
    return {"metadata": {"labels": names.job_labels(spec.name, job)}, "spec": body}
