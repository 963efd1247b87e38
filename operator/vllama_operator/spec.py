"""An LLMServe as the operator reads it. Pure.

The API server has checked shapes and filled in defaults by the CRD; what a schema cannot say is checked here, by the same code that
reads a `vllama.yaml` on a laptop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vllama_core import quantities, serve_spec, storageref
from vllama_core.errors import ConfigError
from vllama_core.model_form import Form
from vllama_core.storageref import PvcRef
from vllama_operator.engines import takes_vllm
from vllama_operator.errors import SpecError
from vllama_operator.profiles import AUTO, DEFAULT, Profile

Json = Mapping[str, Any]
_NONE: Mapping[str, Profile] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One key of a Secret in the LLMServe's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """What is wanted.

    :ivar config: the agents' vllama.yaml.
    :ivar ref: source, quantization and revision, as `vllama pull` takes them.
    :ivar context: tokens; None: the agent chooses.
    :ivar parallel: requests at once; None: the agent chooses.
    :ivar model_name: what requests call it.
    :ivar engine: llamacpp or vllm.
    :ivar form: in which the model's files are fetched, hf or gguf; None: as the agent's image prefers.
    :ivar env: of the container, as Kubernetes has it.
    :ivar replicas: pods to run now: 0 while suspended, and what `scaling` allows where that is given.
    :ivar scaling: `spec.scaling`; None = not given.
    :ivar memory: bytes of a replica.
    :ivar cpu: CPUs of a replica, as Kubernetes has it.
    :ivar max_surge: pods beyond the wanted number during a rollout.
    :ivar drain_seconds: seconds that running answers get.
    :ivar claim: a volume claim that exists; None = one is made, unless `ephemeral`.
    :ivar cache_bytes: size of the volume to be made.
    :ivar source_claim: the claim that `model.source` names by ``pvc://``.
    """

    name: str
    namespace: str
    uid: str
    config: str
    source: str
    model_name: str
    ref: str = ""
    context: int | None = None
    parallel: int | None = None
    engine: str = "llamacpp"
    form: str | None = None
    image: str | None = None
    env: tuple[Json, ...] = ()
    token: SecretKey | None = None
    keys: SecretKey | None = None
    profile: str = DEFAULT
    accelerator: str = "auto"
    count: int = 1
    resource_name: str | None = None
    memory: int | None = None
    cpu: str | None = None
    replicas: int = 1
    scaling: Json | None = None
    suspend: bool = False
    max_surge: int = 1
    max_unavailable: int = 0
    drain_seconds: int = 600
    ephemeral: bool = False
    claim: str | None = None
    storage_class: str | None = None
    cache_bytes: int | None = None
    source_claim: str | None = None
    pod_template: Json = field(default_factory=dict)


def parse(body: Json, profiles: Mapping[str, Profile] = _NONE) -> ServeSpec:
    """Read an LLMServe.

    :param profiles: those of the cluster, on which the engine depends where none is named.
    :raises SpecError: it asks for what this version cannot do, or for what cannot be.
    """
    metadata, spec = body["metadata"], body["spec"]
    model, engine, resources = spec["model"], _part(spec, "engine"), _part(spec, "resources")
    rollout, cache, scaling = _part(spec, "rollout"), _part(spec, "cache"), spec.get("scaling")
    if _part(spec, "parallelism").get("nodes", 1) > 1:
        raise SpecError("MultiNodeNotSupported", "a replica on several nodes is not supported yet; set spec.parallelism.nodes to 1")
    config = _config(model, engine, resources, _part(spec, "parallelism"))
    checked = _checked(config)
    profile = profiles.get(spec.get("profile") or DEFAULT, Profile())
    if engine.get("type", AUTO) == AUTO and takes_vllm(model, engine, resources, profile):
        config = _config(model, {**engine, "type": "vllm"}, resources, _part(spec, "parallelism"))
        checked = _checked(config)
    storage = storageref.parse(model["source"])
    return ServeSpec(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        config=config,
        source=model["source"],
        model_name=checked.name or checked.ref,
        ref=checked.ref,
        context=checked.settings.get("ctx_size"),
        parallel=checked.settings.get("parallel"),
        engine="vllm" if checked.form is Form.HUGGING_FACE else "llamacpp",
        form=checked.form,
        image=engine.get("image"),
        env=tuple(engine.get("env") or ()),
        token=_secret(model.get("secretRef"), "token"),
        keys=_secret(_part(spec, "api").get("keySecretRef"), "keys"),
        profile=spec.get("profile") or DEFAULT,
        accelerator=resources.get("accelerator", "auto"),
        count=resources.get("count", 1),
        resource_name=resources.get("resourceName"),
        memory=_bytes(resources.get("memory"), "spec.resources.memory"),
        cpu=None if resources.get("cpu") is None else str(resources["cpu"]),
        replicas=_replicas(spec, scaling),
        scaling=scaling,
        suspend=bool(spec.get("suspend", False)),
        max_surge=rollout.get("maxSurge", 1),
        max_unavailable=rollout.get("maxUnavailable", 0),
        drain_seconds=rollout.get("drainSeconds", 600),
        ephemeral=cache.get("mode", "Shared") == "Ephemeral",
        claim=cache.get("claimName"),
        storage_class=cache.get("storageClass"),
        cache_bytes=_bytes(cache.get("size"), "spec.cache.size"),
        source_claim=storage.claim if isinstance(storage, PvcRef) else None,
        pod_template=spec.get("podTemplate") or {},
    )


def _part(spec: Json, name: str) -> Json:
    return spec.get(name) or {}


def _replicas(spec: Json, scaling: Json | None) -> int:
    if spec.get("suspend"):
        return 0
    if scaling is None:
        return int(spec.get("replicas", 1))
    return max(int(scaling.get("min", 1)), 1)


def _secret(given: Json | None, key: str) -> SecretKey | None:
    return None if not given else SecretKey(name=given["name"], key=given.get("key") or key)


def _bytes(given: Any, path: str) -> int | None:
    if given is None:
        return None
    try:
        return quantities.parse_bytes(str(given))
    except ValueError as error:
        raise SpecError("InvalidSpec", f"{path} is {given!r}: {error}") from None


def _config(model: Json, engine: Json, resources: Json, parallelism: Json) -> str:
    """The agent's file: what of the spec concerns it. A pod's variables, image and memory are the pod's."""
    if spread := _spread(parallelism):
        engine = {**engine, "args": [*(engine.get("args") or ()), *spread]}
    entry = {
        "model": {key: model[key] for key in ("source", "revision", "format", "quantization", "name", "aliases") if model.get(key)},
        "engine": {key: engine[key] for key in ("type", "options", "args") if engine.get(key)},
        "resources": {key: resources[key] for key in ("accelerator", "cpu", "contextLength") if resources.get(key) is not None},
    }
    return json.dumps({"models": [{key: part for key, part in entry.items() if part}]}, sort_keys=True)


def _spread(parallelism: Json) -> list[str]:
    """vLLM's arguments for a model that lies on several GPUs."""
    sizes = {"--tensor-parallel-size": parallelism.get("tensor", 1), "--pipeline-parallel-size": parallelism.get("pipeline", 1)}
    return [f"{name}={size}" for name, size in sizes.items() if size > 1]


def _checked(config: str) -> serve_spec.ModelSpec:
    try:
        [model] = serve_spec.parse(config, file="spec").models
    except ConfigError as error:
        said = str(error).removeprefix("spec:1: ").replace("models[0].", "spec.")
        raise SpecError("InvalidSpec", said) from None
    return model
