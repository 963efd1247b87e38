from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vllama_operator import desired, names, spec
from vllama_operator.errors import SpecError
from vllama_operator.profiles import Profile
from vllama_operator.settings import Settings

Make = Callable[..., dict[str, Any]]
SETTINGS = Settings(agent_image="registry/agent:1")
L40 = Profile(
    accelerator="nvidia",
    image="registry/agent:cuda",
    runtime_class="nvidia",
    node_selector={"gpu": "l40"},
    tolerations=({"operator": "Exists"},),
)


def made(body: dict[str, Any], settings: Settings = SETTINGS) -> dict[str, dict[str, Any]]:
    """Manifests by kind; of the two Services the headless one is `Headless`."""
    objects = desired.objects(spec.parse(body), settings)
    return {"Headless" if "clusterIP" in each["spec"] else each["kind"]: each for each in objects}


def pod_of(body: dict[str, Any], settings: Settings = SETTINGS) -> dict[str, Any]:
    found: dict[str, Any] = made(body, settings)["Deployment"]["spec"]["template"]["spec"]
    return found


def test_a_deployment_as_a_whole(serve: Make) -> None:
    body = serve(model={"source": "qwen3:0.6b"}, engine={"type": "auto"}, resources={"memory": "2GiB", "cpu": 2})
    deployment = made(body)["Deployment"]
    digest = deployment["metadata"].pop("annotations")[names.DIGEST]
    assert len(digest) == 32
    labels = {
        "app.kubernetes.io/name": "vllama",
        "vllama.dev/llmserve": "qwen3",
        "app.kubernetes.io/instance": "qwen3",
        "app.kubernetes.io/managed-by": "vllama-operator",
    }
    selector = {"app.kubernetes.io/name": "vllama", "vllama.dev/llmserve": "qwen3"}
    config = '{"models": [{"engine": {"type": "auto"}, "model": {"source": "qwen3:0.6b"}, "resources": {"cpu": 2}}]}'
    probe = {"periodSeconds": 5, "timeoutSeconds": 3}

    def get(path: str) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}}

    assert deployment == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "qwen3",
            "namespace": "team",
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": "vllama.dev/v1alpha1",
                    "kind": "LLMServe",
                    "name": "qwen3",
                    "uid": "uid-qwen3",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 4200,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"vllama.dev/config": config},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 5 + 2 + 600 + 15,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": selector},
                        }
                    ],
                    "containers": [
                        {
                            "name": "agent",
                            "image": "registry/agent:1",
                            "imagePullPolicy": "IfNotPresent",
                            "args": [
                                *("serve", "--host", "0.0.0.0", "--port", "11434", "--config", "/etc/vllama/config/vllama.yaml"),
                                *("--no-auth", "--drain-delay", "2s", "--drain-seconds", "600s"),
                            ],
                            "env": [
                                {"name": "VLLAMA_MANAGED", "value": "1"},
                                {"name": "VLLAMA_HOME", "value": "/models"},
                                {"name": "HF_HOME", "value": "/models/huggingface"},
                                {"name": "HOME", "value": "/tmp"},
                                {"name": "VLLAMA_PVC_ROOT", "value": "/mnt/pvc"},
                                {"name": "VLLAMA_LOG_FORMAT", "value": "json"},
                            ],
                            "ports": [{"name": "http", "containerPort": 11434, "protocol": "TCP"}],
                            "resources": {"requests": {"memory": "2147483648", "cpu": "2"}, "limits": {"memory": "2147483648"}},
                            "startupProbe": get("/startupz") | probe | {"failureThreshold": 720},
                            "readinessProbe": get("/readyz") | probe | {"failureThreshold": 2},
                            "livenessProbe": get("/livez") | probe | {"failureThreshold": 6},
                            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [
                                {"name": "config", "mountPath": "/etc/vllama/config", "readOnly": True},
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "models", "mountPath": "/models"},
                            ],
                        }
                    ],
                    "volumes": [
                        {
                            "name": "config",
                            "downwardAPI": {
                                "items": [
                                    {
                                        "path": "vllama.yaml",
                                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.annotations['vllama.dev/config']"},
                                    }
                                ]
                            },
                        },
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "models", "persistentVolumeClaim": {"claimName": "qwen3-cache"}},
                    ],
                },
            },
        },
    }


def test_what_belongs_to_one_replica(serve: Make) -> None:
    """No budget: it would only keep the node from being drained."""
    assert list(made(serve())) == ["PersistentVolumeClaim", "Deployment", "Service", "Headless", "NetworkPolicy"]


def test_two_replicas_have_a_disruption_budget(serve: Make) -> None:
    assert made(serve(replicas=2))["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("cache", [{"mode": "Ephemeral"}, {"mode": "Shared", "claimName": "mine"}])
def test_a_volume_is_made_only_where_none_is_named(serve: Make, cache: dict[str, Any]) -> None:
    assert "PersistentVolumeClaim" not in made(serve(cache=cache))
    volume = pod_of(serve(cache=cache))["volumes"][2]
    expected = {"persistentVolumeClaim": {"claimName": "mine"}} if "claimName" in cache else {"emptyDir": {}}
    assert volume == {"name": "models"} | expected


def test_the_volume_has_the_class_and_size_that_are_asked_for(serve: Make) -> None:
    claim = made(serve(cache={"mode": "Shared", "storageClass": "fast", "size": "80GiB"}))["PersistentVolumeClaim"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": str(80 << 30)}},
        "storageClassName": "fast",
    }


def test_keys_come_from_a_secret_as_a_file(serve: Make) -> None:
    pod = pod_of(serve(api={"keySecretRef": {"name": "doors", "key": "all"}}))
    assert "--no-auth" not in pod["containers"][0]["args"]
    assert pod["containers"][0]["args"][7:9] == ["--api-key-file", "/etc/vllama/keys/keys"]
    assert pod["volumes"][-1] == {
        "name": "keys",
        "secret": {"secretName": "doors", "items": [{"key": "all", "path": "keys"}], "defaultMode": 0o440},
    }


def test_the_hubs_token_is_a_reference_and_never_a_value(serve: Make) -> None:
    env = pod_of(serve(model={"source": "qwen3:0.6b", "secretRef": {"name": "hf", "key": "token"}}))["containers"][0]["env"]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}} in env


def test_a_claim_that_holds_the_model_is_mounted_read_only(serve: Make) -> None:
    pod = pod_of(serve(model={"source": "pvc://weights/qwen/"}))
    assert pod["volumes"][-1] == {"name": "source", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
    assert pod["containers"][0]["volumeMounts"][-1] == {"name": "source", "mountPath": "/mnt/pvc/weights", "readOnly": True}


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        ({"accelerator": "auto", "count": 2}, {"nvidia.com/gpu": "2"}),
        ({"accelerator": "amd", "count": 1}, {"amd.com/gpu": "1"}),
        ({"resourceName": "nvidia.com/mig-1g.10gb", "count": 1}, {"nvidia.com/mig-1g.10gb": "1"}),
        ({"accelerator": "cpu"}, None),
    ],
)
def test_gpus_are_asked_for_by_the_llmserve_else_the_profile(serve: Make, resources: dict[str, Any], limits: dict[str, str] | None) -> None:
    pod = pod_of(serve(profile="l40", resources=resources), Settings(profiles={"l40": L40}))
    assert pod["containers"][0].get("resources", {}).get("limits") == limits


def test_a_profile_says_where_pods_run(serve: Make) -> None:
    pod = pod_of(serve(profile="l40"), Settings(profiles={"l40": L40}))
    assert (pod["runtimeClassName"], pod["nodeSelector"], pod["tolerations"]) == ("nvidia", {"gpu": "l40"}, [{"operator": "Exists"}])
    assert pod["containers"][0]["image"] == "registry/agent:cuda"


def test_vllms_processes_share_more_memory_than_a_container_is_given(serve: Make) -> None:
    """https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"""
    body = serve(engine={"type": "vllm", "image": "registry/cuda:1"}, resources={"memory": "64Gi"})
    pod = pod_of(body)
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    assert "shm" not in {each["name"] for each in pod_of(serve())["volumes"]}


def test_vllm_runs_in_an_image_that_has_it(serve: Make) -> None:
    body = serve(engine={"type": "vllm"})
    with pytest.raises(SpecError, match=r"name one that has it \(target agent-cuda\) in spec.engine.image or in the profile") as caught:
        made(body, Settings())
    assert caught.value.reason == "EngineImageMissing"
    pod = pod_of(body, Settings(profiles={"default": replace(L40, image="registry/agent-cuda:1")}))
    assert pod["containers"][0]["image"] == "registry/agent-cuda:1"


def test_a_profile_that_is_not_there_is_told_with_those_that_are(serve: Make) -> None:
    with pytest.raises(SpecError, match=r"spec.profile is 'l4'.*there are default, l40"):
        made(serve(profile="l4"), Settings(profiles={"default": Profile(), "l40": L40}))


def test_the_pod_template_is_laid_over_the_pods(serve: Make) -> None:
    over = {
        "metadata": {"labels": {"team": "a", "vllama.dev/llmserve": "another"}, "annotations": {"b": "c"}},
        "spec": {
            "priorityClassName": "high",
            "containers": [
                {"name": "agent", "volumeMounts": [{"name": "more", "mountPath": "/more"}], "env": [{"name": "HOME", "value": "/more"}]},
                {"name": "sidecar", "image": "other"},
            ],
            "volumes": [{"name": "more", "emptyDir": {}}],
        },
    }
    template = made(serve(podTemplate=over))["Deployment"]["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["vllama.dev/llmserve"] == "qwen3", "else the Deployment would not select its own pods"
    assert set(template["metadata"]["annotations"]) == {"vllama.dev/config", "b"}
    pod = template["spec"]
    assert pod["priorityClassName"] == "high"
    assert [each["name"] for each in pod["containers"]] == ["agent", "sidecar"]
    assert [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]] == ["/etc/vllama/config", "/tmp", "/models", "/more"]
    assert {"name": "HOME", "value": "/more"} in pod["containers"][0]["env"]
    assert [each["name"] for each in pod["volumes"]] == ["config", "tmp", "models", "more"]


@pytest.mark.parametrize(
    ("clients", "ingress"),
    [
        (({"podSelector": {}},), [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]}]),
        ((), []),
    ],
)
def test_only_those_whom_the_owner_lets_in_reach_the_agent(serve: Make, clients: tuple[dict[str, Any], ...], ingress: list[Any]) -> None:
    """Nobody named is nobody, though an empty `from` would mean everybody."""
    policy = made(serve(), Settings(clients=clients))["NetworkPolicy"]["spec"]
    assert policy["ingress"] == ingress
    assert policy["policyTypes"] == ["Ingress"]


def test_the_digest_tells_two_manifests_apart(serve: Make) -> None:
    digests = {made(serve(replicas=n))["Deployment"]["metadata"]["annotations"][names.DIGEST] for n in (1, 2, 2)}
    assert len(digests) == 2
