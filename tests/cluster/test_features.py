"""Each field of an LLMServe on a real API server: asked for, seen in what is made, taken back; at last all of it is removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit.cluster import Cluster
from kit.serving import children, condition, make, operator, ready, until

Json = dict[str, Any]
NAMESPACE = "vllama-features"
SOURCE = "qwen3:0.6b"
CONFIG = """
profiles:
  default: {accelerator: cpu}
  l4:
    accelerator: nvidia
    runtimeClassName: nvidia
    nodeSelector: {gpu: l4}
    tolerations: [{key: nvidia.com/gpu, operator: Exists}]
    image: registry.example/agent@sha256:0000000000000000000000000000000000000000000000000000000000000000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A part of a spec, and how it is seen.

    :ivar beside: what else is said all the time.
    :ivar seen: whether the Deployment has it.
    :ivar says: type, status and reason of a condition that comes with it.
    """

    spec: Json
    beside: Json = field(default_factory=dict)
    seen: Callable[[Json], bool] = field(default=lambda _: True)
    says: tuple[str, str, str] | None = None


def agent(deployment: Json) -> Json:
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])


def pod(deployment: Json) -> Json:
    return dict(deployment["spec"]["template"]["spec"])


def config(deployment: Json) -> str:
    return str(deployment["spec"]["template"]["metadata"]["annotations"]["vllama.dev/config"])


def volumes(deployment: Json) -> Json:
    return {each["name"]: each for each in pod(deployment)["volumes"]}


FEATURES = {
    "suspend": Feature(spec={"suspend": True}, says=("ScaledToZero", "True", "Suspended")),
    "aliases": Feature(spec={"model": {"source": SOURCE, "aliases": ["gpt-4o"]}}, seen=lambda made: '"gpt-4o"' in config(made)),
    "a context": Feature(spec={"resources": {"contextLength": 4096}}, seen=lambda made: '"contextLength": 4096' in config(made)),
    "options of the engine": Feature(spec={"engine": {"options": {"kvCacheType": "q8_0"}}}, seen=lambda made: '"q8_0"' in config(made)),
    "a token": Feature(
        spec={"model": {"source": SOURCE, "secretRef": {"name": "hf"}}},
        seen=lambda made: {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}} in agent(made)["env"],
    ),
    "keys": Feature(
        spec={"api": {"keySecretRef": {"name": "doors"}}},
        seen=lambda made: (
            "--no-auth" not in agent(made)["args"] and volumes(made).get("keys", {}).get("secret", {}).get("secretName") == "doors"
        ),
    ),
    "a variable": Feature(
        spec={"engine": {"env": [{"name": "SOMETHING", "value": "1"}]}}, seen=lambda made: "SOMETHING" in json.dumps(agent(made)["env"])
    ),
    "an image": Feature(spec={"engine": {"image": "registry.example/mine:1"}}, seen=lambda made: agent(made)["image"].endswith("/mine:1")),
    "memory and CPUs": Feature(
        spec={"resources": {"memory": "2Gi", "cpu": "1500m"}},
        seen=lambda made: (
            agent(made).get("resources") == {"requests": {"memory": str(2 << 30), "cpu": "1500m"}, "limits": {"memory": str(2 << 30)}}
        ),
    ),
    "a profile": Feature(
        spec={"profile": "l4", "resources": {"count": 2}},
        seen=lambda made: (
            pod(made).get("nodeSelector") == {"gpu": "l4"}
            and pod(made).get("runtimeClassName") == "nvidia"
            and pod(made)["tolerations"][0]["key"] == "nvidia.com/gpu"
            and agent(made)["resources"]["limits"]["nvidia.com/gpu"] == "2"
            and "sha256" in agent(made)["image"]
        ),
    ),
    "a rollout in place": Feature(
        spec={"rollout": {"maxSurge": 0, "maxUnavailable": 1, "drainSeconds": 30}},
        seen=lambda made: (
            made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
            and pod(made)["terminationGracePeriodSeconds"] == 52
        ),
    ),
    "what else a pod may have": Feature(
        spec={"podTemplate": {"metadata": {"annotations": {"team": "a"}}, "spec": {"schedulerName": "other"}}},
        seen=lambda made: pod(made)["schedulerName"] == "other" and made["spec"]["template"]["metadata"]["annotations"].get("team") == "a",
    ),
    "a claim that is there": Feature(
        spec={"cache": {"claimName": "models"}},
        seen=lambda made: volumes(made)["models"].get("persistentVolumeClaim", {}).get("claimName") == "models",
    ),
    "a cache of each pod's own": Feature(
        spec={"cache": {"mode": "Ephemeral"}},
        seen=lambda made: "emptyDir" in volumes(made)["models"],
        says=("ModelCached", "Unknown", "NotShared"),
    ),
    "a model in a claim": Feature(
        spec={"model": {"source": "pvc://weights/model.gguf"}},
        beside={"cache": {"mode": "Ephemeral"}},  # a source cannot change while replicas read one cache
        seen=lambda made: volumes(made).get("source", {}).get("persistentVolumeClaim") == {"claimName": "weights", "readOnly": True},
    ),
    "scaling": Feature(spec={"scaling": {"min": 2, "max": 4}}, says=("ScalingActive", "False", "AutoscalingNotSupported")),
}


@pytest.fixture(scope="module")
def served(llmserves: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with an operator that has a profile of GPUs."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "operator.yaml").write_text(CONFIG)
    llmserves.kubectl("create", "namespace", NAMESPACE)
    with operator(llmserves, NAMESPACE, folder, config=folder / "operator.yaml"):
        yield llmserves
    llmserves.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_a_field_is_followed_when_it_comes_and_when_it_goes(served: Cluster, request: pytest.FixtureRequest, feature: Feature) -> None:
    name = f"f-{list(FEATURES).index(request.node.callspec.id)}"
    plain = {"replicas": 0} | feature.beside  # nothing has to be planned or fetched for it, so what is asked for is made at once

    def has() -> bool:
        found = served.get("deployments", "-n", NAMESPACE, f"--field-selector=metadata.name={name}")["items"]
        return bool(found) and feature.seen(found[0])

    def says() -> bool:
        kind, *expected = feature.says or ("", "", "")
        told = condition(served, NAMESPACE, kind, name)
        return feature.says is None or [told.get("status"), told.get("reason")] == expected

    make(served, NAMESPACE, name, **plain | feature.spec)
    until(lambda: has() and says())
    make(served, NAMESPACE, name, **plain)
    until(lambda: not has() or (feature.says is not None and not says()))


def test_several_nodes_are_refused_in_words_until_one_is_enough(served: Cluster) -> None:
    several = {"engine": {"type": "vllm"}, "parallelism": {"nodes": 2, "pipeline": 2}}
    make(served, NAMESPACE, "several", **several)
    until(lambda: ready(served, NAMESPACE, "several") == ("Failed", "MultiNodeNotSupported"))
    assert "set spec.parallelism.nodes to 1" in condition(served, NAMESPACE, "Ready", "several")["message"]
    make(served, NAMESPACE, "several")
    until(lambda: ready(served, NAMESPACE, "several") == ("Pending", "Planning"))


def test_nothing_is_left_of_any_of_them(served: Cluster) -> None:
    served.kubectl("delete", "llm", "--all", "-n", NAMESPACE)
    until(lambda: children(served, NAMESPACE) == set(), 120)
