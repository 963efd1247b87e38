"""The pods of an LLMServe: what runs in them, with which rights, and how they end. Pure. Knows Kubernetes objects, never a cluster."""

from __future__ import annotations

from typing import Any

from vllama_operator import names, overlay
from vllama_operator.errors import SpecError
from vllama_operator.profiles import RESOURCE_NAMES, Profile
from vllama_operator.settings import Settings
from vllama_operator.spec import SecretKey, ServeSpec

PORT = 11434
AGENT = "agent"
MODELS = "/models"
"""Where the agent's image keeps models and all other state."""
CONFIG_FOLDER = "/etc/vllama/config"
KEYS_FOLDER = "/etc/vllama/keys"
CLAIMS_FOLDER = "/mnt/pvc"
"""Where the agent looks for the claims of pvc://, each by its name."""
SHARED_MEMORY_FOLDER = "/dev/shm"
"""A container gets 64 MiB of it unless it is told otherwise: the processes of vLLM that share a model do not start in that."""
USER = 65532
"""The image's user, and the group that owns the volumes."""
LEAVE_SECONDS = 5
"""Between a pod's removal and its SIGTERM: until then it goes on accepting, because proxies and balancers learn of it a moment later."""
PART_SECONDS = 2
"""After SIGTERM, while each reply asks its client to close the connection. Clients that keep one never see endpoints change: without this
the door would close upon the request that they are sending."""
SPARE_SECONDS = 15
"""After the agent's own drain, for it to say goodbye to streams that took longer."""
PROBE_SECONDS = 5


def profile_of(spec: ServeSpec, settings: Settings) -> Profile:
    """The profile that the LLMServe names.

    :raises SpecError: there is none of that name.
    """
    found = settings.profiles.get(spec.profile)
    if found is None:
        there = ", ".join(sorted(settings.profiles))
        raise SpecError("ProfileUnknown", f"spec.profile is {spec.profile!r}, which this cluster does not have; there are {there}")
    return found


def template(spec: ServeSpec, settings: Settings) -> dict[str, Any]:
    """The Deployment's pod template.

    :raises SpecError: the profile is not known, or lacks what the LLMServe needs.
    """
    profile = profile_of(spec, settings)
    if spec.engine == "vllm" and not (spec.image or profile.image):
        said = "the model runs on vLLM, which the chart's agent image lacks"
        raise SpecError("EngineImageMissing", f"{said}; name one that has it (target agent-cuda) in spec.engine.image or in the profile")
    made = {
        "metadata": {"labels": names.labels(spec.name), "annotations": {names.CONFIG: spec.config}},
        "spec": _present(
            automountServiceAccountToken=False,  # an agent needs nothing of the API server
            enableServiceLinks=False,
            terminationGracePeriodSeconds=LEAVE_SECONDS + PART_SECONDS + spec.drain_seconds + SPARE_SECONDS,
            securityContext={
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",  # else each start would touch every file of the cache
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            runtimeClassName=profile.runtime_class,
            nodeSelector=dict(profile.node_selector),
            tolerations=[dict(each) for each in profile.tolerations],
            imagePullSecrets=[{"name": name} for name in settings.image_pull_secrets],
            topologySpreadConstraints=[_apart(spec.name)],
            containers=[_container(spec, profile, settings)],
            volumes=_volumes(spec),
        ),
    }
    result: dict[str, Any] = overlay.merged(made, spec.pod_template)
    result["metadata"]["labels"] |= names.labels(spec.name)  # a Deployment that does not select its own pods is refused
    return result


def _present(**fields: Any) -> dict[str, Any]:
    """Without the fields that say nothing."""
    return {key: value for key, value in fields.items() if value is not None and value not in ({}, [])}


def _apart(serve: str) -> dict[str, Any]:
    """Replicas on nodes of their own where that is possible, so that one node's end is not theirs."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.selector(serve)},
    }


def _container(spec: ServeSpec, profile: Profile, settings: Settings) -> dict[str, Any]:
    return _present(
        name=AGENT,
        image=spec.image or profile.image or settings.agent_image,
        imagePullPolicy=settings.image_pull_policy,
        args=_arguments(spec),
        env=_environment(spec),
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=_resources(spec, profile),
        startupProbe=_probe("/startupz", failures=max(1, settings.start_seconds // PROBE_SECONDS)),
        readinessProbe=_probe("/readyz", failures=2),
        livenessProbe=_probe("/livez", failures=6),
        lifecycle={"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        terminationMessagePolicy="FallbackToLogsOnError",  # the agent's last words, readable without its log
        securityContext={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        volumeMounts=_mounts(spec),
    )


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": PROBE_SECONDS,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _arguments(spec: ServeSpec) -> list[str]:
    """The config's models are fetched before the pod is ready. Keys lie in a file: arguments can be read by everybody on the node."""
    keys = ["--api-key-file", f"{KEYS_FOLDER}/keys"] if spec.keys else ["--no-auth"]
    drain = ["--drain-delay", f"{PART_SECONDS}s", "--drain-seconds", f"{spec.drain_seconds}s"]
    return ["serve", "--host", "0.0.0.0", "--port", str(PORT), "--config", f"{CONFIG_FOLDER}/vllama.yaml", *keys, *drain]


def _environment(spec: ServeSpec) -> list[dict[str, Any]]:
    fixed = {
        "VLLAMA_MANAGED": "1",
        "VLLAMA_HOME": MODELS,
        "HF_HOME": f"{MODELS}/huggingface",
        "HOME": "/tmp",
        "VLLAMA_PVC_ROOT": CLAIMS_FOLDER,
        "VLLAMA_LOG_FORMAT": "json",
    }
    made: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in fixed.items()]
    if spec.token:
        made.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": spec.token.name, "key": spec.token.key}}})
    result: list[dict[str, Any]] = overlay.merged(made, [dict(variable) for variable in spec.env]) if spec.env else made
    return result


def _resources(spec: ServeSpec, profile: Profile) -> dict[str, Any]:
    """Memory is bounded by what is asked for, else a model too large would take its neighbours down; CPUs are not, idle ones help."""
    requests = {**profile.resources.get("requests", {})}
    limits = {**profile.resources.get("limits", {})}
    if spec.memory is not None:
        requests["memory"] = limits["memory"] = str(spec.memory)
    if spec.cpu is not None:
        requests["cpu"] = spec.cpu
        limits.pop("cpu", None)
    resource = gpu(spec, profile)
    if resource is not None:
        limits[resource] = str(spec.count)
    return _present(requests=requests, limits=limits)


def gpu(spec: ServeSpec, profile: Profile) -> str | None:
    """The extended resource to ask for; None = CPUs only."""
    accelerator = profile.accelerator_of(spec.accelerator)
    if spec.resource_name is not None:
        return spec.resource_name
    if accelerator == "cpu":
        return None
    return profile.resource_name or RESOURCE_NAMES[accelerator]


def _volumes(spec: ServeSpec) -> list[dict[str, Any]]:
    path = f"metadata.annotations['{names.CONFIG}']"
    # The file lies in the pod itself and not in a ConfigMap: a pod of the old revision never reads the new one's settings.
    config = {"items": [{"path": "vllama.yaml", "fieldRef": {"apiVersion": "v1", "fieldPath": path}}]}
    made: list[dict[str, Any]] = [
        {"name": "config", "downwardAPI": config},
        {"name": "tmp", "emptyDir": {}},
        {"name": "models"} | ({"emptyDir": {}} if spec.ephemeral else _claim(spec.claim or names.cache(spec.name))),
    ]
    if spec.keys:
        made.append({"name": "keys", "secret": _secret(spec.keys)})
    if spec.source_claim:
        made.append({"name": "source", "persistentVolumeClaim": {"claimName": spec.source_claim, "readOnly": True}})
    if spec.engine == "vllm":
        made.append({"name": "shm", "emptyDir": {"medium": "Memory"}})  # it counts as the pod's memory, and is bounded with that
    return made


def _claim(name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name}}


def _secret(given: SecretKey) -> dict[str, Any]:
    return {"secretName": given.name, "items": [{"key": given.key, "path": "keys"}], "defaultMode": 0o440}


def _mounts(spec: ServeSpec) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "models", "mountPath": MODELS},
    ]
    if spec.keys:
        made.append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})
    if spec.source_claim:
        made.append({"name": "source", "mountPath": f"{CLAIMS_FOLDER}/{spec.source_claim}", "readOnly": True})
    if spec.engine == "vllm":
        made.append({"name": "shm", "mountPath": SHARED_MEMORY_FOLDER})
    return made
