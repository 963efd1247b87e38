"""LLMServe as an API: defaults, /scale, /status, what kubectl shows, and that the agent's vllama.yaml has the same fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.cluster import Cluster, Refused

from vllama_core import engine_options, quantization_names, serve_spec
from vllama_core.config import CACHE_TYPES, CHAT_FAMILIES

CRD = yaml.safe_load((Path(__file__).resolve().parents[2] / "crds" / "llmserve.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC = SCHEMA["properties"]["spec"]["properties"]
MANIFEST = {
    "apiVersion": "vllama.dev/v1alpha1",
    "kind": "LLMServe",
    "metadata": {"name": "qwen3"},
    "spec": {"model": {"source": "qwen3:0.6b"}},
}


@pytest.fixture
def qwen3(llmserves: Cluster, namespace: str) -> str:
    """The namespace of an LLMServe of that name."""
    llmserves.kubectl("create", "-n", namespace, "-f", "-", stdin=MANIFEST)
    return namespace


def schemas(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """All of a schema's fields, each with its path."""
    found = []
    for name, field in schema.get("properties", {}).items():
        found += [(f"{path}.{name}", field), *schemas(field, f"{path}.{name}")]
    return found + (schemas(schema["items"], f"{path}[]") if "items" in schema else [])


def test_has_the_fields_of_vllama_yaml() -> None:
    """An entry of the agent's file can be pasted into a cluster and back."""
    assert set(SPEC) == {*serve_spec.SPEC, *serve_spec.CLUSTER}
    assert set(SPEC["model"]["properties"]) == set(serve_spec.MODEL)
    assert set(SPEC["engine"]["properties"]) == set(serve_spec.ENGINE)
    assert set(SPEC["resources"]["properties"]) == set(serve_spec.RESOURCES)
    assert set(SPEC["engine"]["properties"]["options"]["properties"]) == set(engine_options.OPTIONS)


def test_has_the_words_of_vllama_yaml() -> None:
    assert SPEC["resources"]["properties"]["accelerator"]["enum"] == list(serve_spec.ACCELERATORS)
    options = SPEC["engine"]["properties"]["options"]["properties"]
    assert options["kvCacheType"]["enum"] == list(CACHE_TYPES)
    assert options["chatFamily"]["enum"] == list(CHAT_FAMILIES)


def test_every_field_says_what_it_is() -> None:
    fields = schemas(SCHEMA["properties"]["spec"], "spec") + schemas(SCHEMA["properties"]["status"], "status")
    assert [path for path, field in fields if not field.get("description")] == []


@pytest.mark.parametrize("quantization", [*quantization_names.BITS, "q4_k", "fp16", "UD-Q4_K_XL", "Q4_K_L"])
def test_takes_every_quantization_that_the_agent_knows(llmserves: Cluster, quantization: str) -> None:
    spec = {"model": {"source": "qwen3:0.6b", "quantization": quantization}}
    assert quantization_names.parse(quantization) is not None
    llmserves.kubectl("apply", "--dry-run=server", "-f", "-", stdin=MANIFEST | {"spec": spec})


def test_what_is_left_out_has_its_default(llmserves: Cluster, qwen3: str) -> None:
    assert llmserves.get("llm", "qwen3", "-n", qwen3)["spec"] == {
        "model": {"source": "qwen3:0.6b"},
        "engine": {"type": "auto", "options": {}, "args": []},
        "resources": {"accelerator": "auto", "count": 1},
        "replicas": 1,
        "rollout": {"maxSurge": 1, "maxUnavailable": 0, "drainSeconds": 600},
        "cache": {"mode": "Shared"},
        "parallelism": {"tensor": 1, "pipeline": 1, "nodes": 1},
        "api": {},
        "suspend": False,
    }


def test_scaling_comes_and_goes_by_a_patch(llmserves: Cluster, qwen3: str) -> None:
    patch = ("patch", "llm", "qwen3", "-n", qwen3, "--type=merge", "-p")
    llmserves.kubectl(*patch, json.dumps({"spec": {"scaling": {"max": 4}}}))
    expected = {"min": 1, "max": 4, "scaleDownDelaySeconds": 300, "idleSeconds": 300}
    assert llmserves.get("llm", "qwen3", "-n", qwen3)["spec"]["scaling"] == expected
    llmserves.kubectl(*patch, json.dumps({"spec": {"scaling": None}}))
    assert "scaling" not in llmserves.get("llm", "qwen3", "-n", qwen3)["spec"]


@pytest.mark.parametrize("scaling", [None, {"min": 0, "max": 4}], ids=["by hand", "with scaling"])
def test_kubectl_scale_writes_the_replicas(llmserves: Cluster, namespace: str, scaling: dict[str, int] | None) -> None:
    spec = MANIFEST["spec"] | ({"scaling": scaling} if scaling else {})
    llmserves.kubectl("create", "-n", namespace, "-f", "-", stdin=MANIFEST | {"spec": spec})
    llmserves.kubectl("scale", "llm/qwen3", "-n", namespace, "--replicas=3")
    assert llmserves.get("llm", "qwen3", "-n", namespace)["spec"]["replicas"] == 3


def test_scale_tells_an_autoscaler_selector_and_replicas(llmserves: Cluster, qwen3: str) -> None:
    """What an HPA reads, before and after the operator has written a status."""
    path = f"/apis/vllama.dev/v1alpha1/namespaces/{qwen3}/llmserves/qwen3/scale"
    assert json.loads(llmserves.kubectl("get", "--raw", path))["spec"] == {"replicas": 1}
    status = {"status": {"replicas": 2, "selector": "vllama.dev/llmserve=qwen3"}}
    llmserves.kubectl("patch", "llm", "qwen3", "-n", qwen3, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    assert json.loads(llmserves.kubectl("get", "--raw", path))["status"] == status["status"]


def test_an_autoscaler_can_be_made_for_it(llmserves: Cluster, qwen3: str) -> None:
    """The controller reaches /scale: it finds it, and only the metrics, which this cluster has not, are missing."""
    llmserves.kubectl("autoscale", "llm/qwen3", "-n", qwen3, "--min=1", "--max=3", "--cpu=80%")
    llmserves.kubectl("wait", "-n", qwen3, "hpa/qwen3", "--for=condition=AbleToScale", "--timeout=60s")


def test_status_and_spec_are_written_apart(llmserves: Cluster, qwen3: str) -> None:
    patch = ("patch", "llm", "qwen3", "-n", qwen3, "--type=merge", "-p", json.dumps({"status": {"phase": "Ready"}}))
    before = llmserves.get("llm", "qwen3", "-n", qwen3)["metadata"]["generation"]
    llmserves.kubectl(*patch)
    assert "status" not in llmserves.get("llm", "qwen3", "-n", qwen3)
    llmserves.kubectl(*patch, "--subresource=status")
    after = llmserves.get("llm", "qwen3", "-n", qwen3)
    assert (after["status"]["phase"], after["metadata"]["generation"]) == ("Ready", before)


def test_a_condition_needs_a_reason(llmserves: Cluster, qwen3: str) -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "", "reason": ""}
    patch = json.dumps({"status": {"conditions": [condition]}})
    with pytest.raises(Refused, match=r"status\.conditions\[0\]\.reason"):
        llmserves.kubectl("patch", "llm", "qwen3", "-n", qwen3, "--subresource=status", "--type=merge", "-p", patch)


def test_kubectl_get_shows_what_people_want_to_know(llmserves: Cluster, qwen3: str) -> None:
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "m", "reason": "Downloading"}
    status = {
        "phase": "Downloading",
        "engine": "llamacpp",
        "conditions": [ready],
        "download": {"progress": "43 %"},
        "url": "http://q:11434",
    }
    patch = json.dumps({"status": status})
    llmserves.kubectl("patch", "llm", "qwen3", "-n", qwen3, "--subresource=status", "--type=merge", "-p", patch)
    heading, line = llmserves.kubectl("get", "llm", "-n", qwen3).splitlines()
    assert heading.split() == ["NAME", "PHASE", "MODEL", "ENGINE", "READY", "PROGRESS", "URL", "AGE"]
    assert line.split()[:-1] == ["qwen3", "Downloading", "qwen3:0.6b", "llamacpp", "False", "43", "%", "http://q:11434"]


def test_is_found_by_its_category(llmserves: Cluster, qwen3: str) -> None:
    assert "llmserve.vllama.dev/qwen3" in llmserves.kubectl("get", "vllama", "-n", qwen3, "-o", "name")


def test_kubectl_explain_describes_the_model(llmserves: Cluster) -> None:
    explained = llmserves.kubectl("explain", "llm.spec.model")
    assert "secretRef" in explained
    assert "Which GGUF of several to take" in explained
