"""LLMServes and pods as an API server shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Body = dict[str, Any]


@pytest.fixture
def serve() -> Callable[..., Body]:
    """An LLMServe with the defaults of the CRD; keywords are fields of its spec."""

    def made(name: str = "qwen3", *, status: Body | None = None, **spec: Any) -> Body:
        metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 3, "resourceVersion": "10"}
        whole = {"model": {"source": "qwen3:0.6b"}, "replicas": 1, "engine": {"type": "auto", "options": {}, "args": []}} | spec
        body = {"apiVersion": "vllama.dev/v1alpha1", "kind": "LLMServe", "metadata": metadata, "spec": whole}
        return body if status is None else body | {"status": status}

    return made


@pytest.fixture
def pod() -> Callable[..., Body]:
    """A pod with a node; `state` and `last` are its container's, keywords are conditions."""

    def made(name: str = "qwen3-a", *, state: Body | None = None, last: Body | None = None, restarts: int = 0, **conditions: str) -> Body:
        shown = {"PodScheduled": "True", "Ready": "False"} | conditions
        times = {"PodScheduled": "2026-01-01T00:00:01Z", "Ready": "2026-01-01T00:00:43Z"}
        container = {"name": "agent", "state": state or {}, "lastState": last or {}, "restartCount": restarts}
        return {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-{name}",
                "resourceVersion": "20",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"vllama.dev/llmserve": "qwen3"},
            },
            "status": {
                "conditions": [{"type": kind, "status": value, "lastTransitionTime": times[kind]} for kind, value in shown.items()],
                "containerStatuses": [container],
            },
        }

    return made


@pytest.fixture
def answer() -> Callable[..., str]:
    """What `vllama plan` writes; by keywords other fields."""

    def made(*, fits: bool = True, **fields: Any) -> str:
        ways = (
            []
            if fits
            else [{"change": "quantization", "value": "Q3_K_M", "needed": 3 << 30}, {"change": "memory", "value": 6, "needed": 5 << 30}]
        )
        parts = [{"name": "weights", "host": 4 << 30, "gpus": 0}, {"name": "KV cache", "host": 1 << 30, "gpus": 0}]
        whole = {
            "version": 1,
            "fits": fits,
            "reason": "8192 tokens fit" if fits else "even 2048 tokens need 5.0 GiB",
            "needed": {"host": 5 << 30, "gpus": 0},
            "available": {"host": (8 if fits else 4) << 30, "gpus": []},
            "settings": {"context": 8192},
            "parts": parts,
            "shape": {"weights": 4 << 30},
            "ways_out": ways,
        }
        return json.dumps(whole | fields)

    return made


@pytest.fixture
def job_pod(pod: Callable[..., Body]) -> Callable[..., Body]:
    """A pod of a Job; keywords as `pod`."""

    def made(job: str, **fields: Any) -> Body:
        body = pod(f"{job}-a", **fields)
        body["metadata"]["labels"] |= {"vllama.dev/job": job.split("-")[1], "batch.kubernetes.io/job-name": job}
        return body

    return made
