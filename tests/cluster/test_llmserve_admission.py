"""Which LLMServes the API server takes, and what it answers to the others: `kubectl apply --dry-run=server`, as people would."""

from __future__ import annotations

from typing import Any

import pytest
from kit.cluster import Cluster, Refused

SOURCE = "qwen3:0.6b"
EXAMPLE = """
apiVersion: vllama.dev/v1alpha1
kind: LLMServe
metadata: {name: qwen3}
spec:
  model:
    source: "qwen3:0.6b"
    revision: null
    format: null
    quantization: Q4_K_M
    name: "qwen3:0.6b"
    aliases: []
    secretRef: {name: hf-token, key: token}
  engine: {type: auto, image: null, options: {}, args: [], env: []}
  profile: nvidia-l4
  resources: {accelerator: auto, count: 1, resourceName: null, memory: null, cpu: null, contextLength: null}
  replicas: 1
  scaling: {min: 0, max: 4, targetConcurrency: null, scaleDownDelaySeconds: 300, idleSeconds: 300}
  rollout: {maxSurge: 1, maxUnavailable: 0, drainSeconds: 600}
  cache: {mode: Shared, claimName: null, storageClass: null, size: null}
  parallelism: {tensor: 1, pipeline: 1, nodes: 1}
  api: {keySecretRef: null}
  suspend: false
  podTemplate: {}
"""


def llmserve(spec: dict[str, Any], *, name: str = "qwen3") -> dict[str, Any]:
    """A manifest; the source is added where there is none."""
    model = {"source": SOURCE} | spec.get("model", {})
    return {"apiVersion": "vllama.dev/v1alpha1", "kind": "LLMServe", "metadata": {"name": name}, "spec": spec | {"model": model}}


def apply(cluster: Cluster, manifest: Any) -> str:
    return cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)


GOOD: dict[str, dict[str, Any]] = {
    "nothing but a source": {},
    "a repository at a commit": {"model": {"source": "org/repo", "revision": "0123abc", "format": "hf"}},
    "a quantization in small letters": {"model": {"quantization": "q8_0"}},
    "a file behind an address": {"model": {"source": "https://example.org/model.gguf"}},
    "a file of a bucket": {"model": {"source": "s3://bucket/models/model.gguf"}},
    "a file of a claim": {"model": {"source": "pvc://models/qwen3.gguf"}},
    "a path of the image": {"model": {"source": "/models/qwen3.gguf"}},
    "names of its own": {"model": {"name": "team/chat:latest", "aliases": ["gpt-4o", "default"]}},
    "a token for the hub": {"model": {"secretRef": {"name": "hf-token"}}},
    "options of the engine": {
        "engine": {"type": "llamacpp", "options": {"kvCacheType": "q8_0", "parallel": 16, "tensorSplit": [0.5, 0.5]}}
    },
    "arguments of vLLM": {"engine": {"type": "vllm", "args": ["--enforce-eager"]}},
    "a variable from a Secret": {"engine": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}},
    "memory as Kubernetes writes it": {"resources": {"memory": "24Gi", "cpu": "1500m"}},
    "memory as people write it": {"resources": {"memory": "24GiB", "cpu": 4}},
    "a number of bytes": {"resources": {"memory": 25769803776}},
    "a slice of a GPU": {"resources": {"accelerator": "nvidia", "resourceName": "nvidia.com/mig-1g.10gb"}},
    "no replicas": {"replicas": 0},
    "scaling to zero": {"scaling": {"min": 0, "max": 4}},
    "a rollout in place": {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
    "a claim that is filled already": {"cache": {"claimName": "models"}},
    "a cache of its own for each pod": {"cache": {"mode": "Ephemeral", "size": "50Gi"}},
    "weights of a claim for vLLM": {"engine": {"type": "vllm"}, "model": {"source": "pvc://models/qwen3/"}},
    "vLLM on four GPUs": {"engine": {"type": "vllm"}, "resources": {"count": 4}, "parallelism": {"tensor": 2, "pipeline": 2}},
    "vLLM on two nodes": {"engine": {"type": "vllm"}, "parallelism": {"pipeline": 2, "nodes": 2}},
    "an API key": {"api": {"keySecretRef": {"name": "keys"}}},
    "what else a pod may have": {"podTemplate": {"spec": {"volumes": [{"name": "models", "hostPath": {"path": "/srv"}}]}}},
}

BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    # name of the case: (spec, field that the refusal names, what it says)
    "no source": ({"model": {"source": ""}}, "spec.model.source", "at least 1"),
    "a misspelt field": ({"modle": {}}, "spec.modle", "unknown field"),
    "a misspelt option": ({"engine": {"options": {"kvCachetype": "q8_0"}}}, "spec.engine.options.kvCachetype", "unknown field"),
    "a password in the source": (
        {"model": {"source": "https://me:secret@example.org/model.gguf"}}, "spec.model.source", "name it in model.secretRef",
    ),
    "a file of somebody's machine": ({"model": {"source": "./model.gguf"}}, "spec.model.source", "take pvc://CLAIM/PATH"),
    "a folder above it": ({"model": {"source": "../model.gguf"}}, "spec.model.source", "take pvc://CLAIM/PATH"),
    "an unknown format": ({"model": {"format": "onnx"}}, "spec.model.format", '"gguf", "hf"'),
    "an unknown quantization": ({"model": {"quantization": "Q9_K"}}, "spec.model.quantization", "Q4_K_M, Q5_K_M"),
    "a quantization of one file": (
        {"model": {"source": "https://example.org/m.gguf", "quantization": "Q8_0"}}, "spec.model.quantization", "names one file",
    ),
    "a name with a space": ({"model": {"name": "my model"}}, "spec.model.name", "letters, digits and . _ - / :"),
    "an alias with a space": ({"model": {"aliases": ["fine", "my model"]}}, "spec.model.aliases[1]", "letters, digits and . _ - / :"),
    "an alias twice": ({"model": {"aliases": ["a", "a"]}}, "spec.model.aliases[1]", "Duplicate value"),
    "a Secret without a name": ({"model": {"secretRef": {"key": "token"}}}, "spec.model.secretRef.name", "Required value"),
    "an unknown engine": ({"engine": {"type": "llama.cpp"}}, "spec.engine.type", '"auto", "vllm", "llamacpp"'),
    "vLLM's arguments for llama.cpp": (
        {"engine": {"type": "llamacpp", "args": ["--enforce-eager"]}}, "spec.engine.args", "llama.cpp takes engine.options",
    ),
    "Hugging Face's files for llama.cpp": (
        {"engine": {"type": "llamacpp"}, "model": {"format": "hf"}}, "spec.model.format", "set engine.type to vllm",
    ),
    "a file of a claim for vLLM": (
        {"engine": {"type": "vllm"}, "model": {"source": "pvc://models/qwen3.gguf"}}, "spec.model.source", "set engine.type to llamacpp",
    ),
    "a bucket for vLLM": ({"engine": {"type": "vllm"}, "model": {"source": "s3://bucket/m/"}}, "spec.model.source", "pvc://CLAIM/FOLDER/"),
    "an artifact in the form of Hugging Face": (
        {"model": {"source": "oci://registry/m:1", "format": "hf"}}, "spec.model.source", "leave model.format out",
    ),
    "a GGUF for vLLM": ({"engine": {"type": "vllm"}, "model": {"format": "gguf"}}, "spec.model.format", "set engine.type to llamacpp"),
    "a GGUF's quantization for vLLM": (
        {"engine": {"type": "vllm"}, "model": {"quantization": "Q4_K_M"}}, "spec.model.quantization", "set engine.type to llamacpp",
    ),
    "a type that keys cannot have": ({"engine": {"options": {"kvCacheType": "q3"}}}, "spec.engine.options.kvCacheType", '"q8_0"'),
    "no requests at once": ({"engine": {"options": {"parallel": 0}}}, "spec.engine.options.parallel", "greater than or equal to 1"),
    "a scale of nothing": ({"engine": {"options": {"ropeFreqScale": 0}}}, "spec.engine.options.ropeFreqScale", "greater than 0"),
    "a variable twice": ({"engine": {"env": [{"name": "A"}, {"name": "A"}]}}, "spec.engine.env[1]", "Duplicate value"),
    "a profile with a capital": ({"profile": "L4"}, "spec.profile", "should match"),
    "an unknown accelerator": ({"resources": {"accelerator": "tpu"}}, "spec.resources.accelerator", '"nvidia", "amd"'),
    "a Mac's GPU": ({"resources": {"accelerator": "apple"}}, "spec.resources.accelerator", "take auto"),
    "GPUs of a CPU": ({"resources": {"accelerator": "cpu", "count": 2}}, "spec.resources.count", "set resources.cpu"),
    "a GPU's name with a CPU": (
        {"resources": {"accelerator": "cpu", "resourceName": "nvidia.com/gpu"}}, "spec.resources.resourceName", "leave one of the two out",
    ),
    "a resource without a domain": ({"resources": {"resourceName": "gpu"}}, "spec.resources.resourceName", "should match"),
    "memory in words": ({"resources": {"memory": "plenty"}}, "spec.resources.memory", "should match"),
    "a negative number of CPUs": ({"resources": {"cpu": "-1"}}, "spec.resources.cpu", "should match"),
    "a context of one token": ({"resources": {"contextLength": 1}}, "spec.resources.contextLength", "greater than or equal to 16"),
    "a negative number of replicas": ({"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
    "scaling without a maximum": ({"scaling": {"min": 0}}, "spec.scaling.max", "Required value"),
    "scaling to nothing at all": ({"scaling": {"min": 0, "max": 0}}, "spec.scaling.max", "set spec.suspend to true"),
    "a minimum above the maximum": ({"scaling": {"min": 3, "max": 2}}, "spec.scaling.min", "lower min or raise max"),
    "a rollout that cannot move": (
        {"rollout": {"maxSurge": 0, "maxUnavailable": 0}}, "spec.rollout.maxSurge", "set one to 1",
    ),
    "a class for a claim that exists": (
        {"cache": {"claimName": "models", "storageClass": "fast"}}, "spec.cache.claimName", "leave storageClass and size out",
    ),
    "a claim for nobody": ({"cache": {"mode": "Ephemeral", "claimName": "models"}}, "spec.cache.mode", "set cache.mode to Shared"),
    "llama.cpp with tensor parallelism": (
        {"engine": {"type": "llamacpp"}, "resources": {"count": 2}, "parallelism": {"tensor": 2}},
        "spec.parallelism", "set resources.count",
    ),
    "more shares than GPUs": (
        {"engine": {"type": "vllm"}, "parallelism": {"tensor": 4}}, "spec.parallelism", "equal to resources.count × parallelism.nodes",
    ),
    "several nodes with an engine that is not vLLM": (
        {"parallelism": {"nodes": 2, "pipeline": 2}}, "spec.parallelism.nodes", "set engine.type to vllm",
    ),
    "a Secret of keys without a name": ({"api": {"keySecretRef": {}}}, "spec.api.keySecretRef.name", "Required value"),
}  # fmt: skip


def test_the_example_of_the_documentation_is_taken(llmserves: Cluster) -> None:
    """Also its fields that say null: they are left out."""
    assert "created (server dry run)" in apply(llmserves, EXAMPLE)


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
def test_takes(llmserves: Cluster, spec: dict[str, Any]) -> None:
    assert "created (server dry run)" in apply(llmserves, llmserve(spec))


@pytest.mark.parametrize(("spec", "field", "words"), BAD.values(), ids=BAD)
def test_refuses(llmserves: Cluster, spec: dict[str, Any], field: str, words: str) -> None:
    """Naming the field, and the way out or what is allowed."""
    with pytest.raises(Refused) as refusal:
        apply(llmserves, llmserve(spec))
    assert field in str(refusal.value)
    assert words in str(refusal.value)


def test_a_spec_without_a_model_is_refused(llmserves: Cluster) -> None:
    manifest = llmserve({})
    del manifest["spec"]["model"]
    with pytest.raises(Refused, match=r"spec\.model: Required value"):
        apply(llmserves, manifest)


def test_a_name_may_have_45_characters_and_no_more(llmserves: Cluster) -> None:
    assert "created" in apply(llmserves, llmserve({}, name="q" * 45))
    with pytest.raises(Refused, match=r"metadata\.name has at most 45 characters"):
        apply(llmserves, llmserve({}, name="q" * 46))


def test_the_source_stays_while_replicas_read_one_cache(llmserves: Cluster, namespace: str) -> None:
    llmserves.kubectl("apply", "-n", namespace, "-f", "-", stdin=llmserve({}))
    other = {"model": {"source": "qwen3:4b"}}
    with pytest.raises(Refused, match=r"spec\.model\.source: .*create another LLMServe"):
        llmserves.kubectl("apply", "-n", namespace, "-f", "-", stdin=llmserve(other))
    llmserves.kubectl("apply", "-n", namespace, "-f", "-", stdin=llmserve(other | {"cache": {"mode": "Ephemeral"}}))
    assert llmserves.get("llm", "qwen3", "-n", namespace)["spec"]["model"]["source"] == "qwen3:4b"
