"""Names, labels and annotations of all that belongs to an LLMServe. Pure.

Names of children are always valid for a Service, and two LLMServes of a namespace never share one. The API server admits at most 45
characters for an LLMServe's name (a rule of the CRD), so that the longest child's name stays within 63.
"""

from __future__ import annotations

import hashlib
import re

GROUP = "vllama.dev"
"""Whoever publishes the operator must own this domain; it stands here, in the CRD and in the chart's Role."""
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LLMServe"
PLURAL = "llmserves"
FIELD_MANAGER = "vllama-operator"
SERVE_LABEL = f"{GROUP}/llmserve"
"""The LLMServe's own name: what watches select by."""
DIGEST = f"{GROUP}/applied"
"""Annotation with the digest of what was applied last, so that a field which is no longer wanted is noticed."""
CONFIG = f"{GROUP}/config"
"""Annotation of the pods with their vllama.yaml."""

JOB_LABEL = f"{GROUP}/job"
"""Of Jobs and their pods, with what they are for: `plan` or `download`."""

# A Service's name is a label of RFC 1035: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#rfc-1035-label-names
_LABEL = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_RESERVED = ("-pods", "-cache")
"""Ends of further children's names: an LLMServe called so must not get the name of another's child."""


def base(serve: str) -> str:
    """The name of an LLMServe's Deployment and Service: its own where that can be, else one that resembles it and is nobody else's."""
    if _LABEL.fullmatch(serve) and not serve.endswith(_RESERVED) and not _derived(serve):
        return serve
    mark = hashlib.sha256(serve.encode()).hexdigest()[:8]
    word = re.sub(r"[^a-z0-9-]", "-", serve).strip("-")
    return f"{word if word[:1].isalpha() else f'm-{word}'}-x{mark}"


def _derived(serve: str) -> bool:
    """It looks like a name that `base` makes."""
    return re.search(r"-x[0-9a-f]{8}$", serve) is not None


def headless(serve: str) -> str:
    """The Service without an address of its own, whose name lists the pods."""
    return f"{base(serve)}-pods"


def cache(serve: str) -> str:
    """The claim of the volume with the model's files."""
    return f"{base(serve)}-cache"


def plan(key: str) -> str:
    """The ConfigMap with a plan, and the Job that makes it; one for all LLMServes of a namespace that ask the same."""
    return f"vllama-plan-{key}"


def download(key: str) -> str:
    """The Job that fetches a model into a claim; one for all LLMServes of a namespace that want it there."""
    return f"vllama-download-{key}"


def job_labels(serve: str, job: str) -> dict[str, str]:
    """Labels of a Job and its pods: not those that a Service, a Deployment or a NetworkPolicy selects by."""
    return {"app.kubernetes.io/name": "vllama-job", "app.kubernetes.io/managed-by": FIELD_MANAGER, SERVE_LABEL: serve, JOB_LABEL: job}


def selector(serve: str) -> dict[str, str]:
    """Labels that choose an LLMServe's pods; those of a Deployment can never change."""
    return {"app.kubernetes.io/name": "vllama", SERVE_LABEL: serve}


def labels(serve: str) -> dict[str, str]:
    """Labels of all children."""
    return {**selector(serve), "app.kubernetes.io/instance": serve, "app.kubernetes.io/managed-by": FIELD_MANAGER}


def selector_text(serve: str) -> str:
    """As `status.selector` wants it, for `kubectl scale` and autoscalers."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(serve).items()))
