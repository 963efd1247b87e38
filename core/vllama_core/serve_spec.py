"""`vllama.yaml`: several models, each in the schema of `LLMServe.spec`, so that an entry can be pasted into a cluster and back. Pure.

    models:
      - model: {source: "qwen3:0.6b", aliases: [small]}
        engine: {options: {kvCacheType: q8_0}}
        resources: {contextLength: 16384}

What only a cluster can honour is accepted and told in a note; what cannot be honoured at all is an error. No field holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllama_core import engine_options, quantities, vllm_arguments, yaml_fields
from vllama_core.config import MOST_CONTEXT
from vllama_core.engine_build import FORMS, EngineName
from vllama_core.errors import ConfigError
from vllama_core.model_form import Form
from vllama_core.model_source import reference
from vllama_core.modelref import ModelName
from vllama_core.yaml_fields import Field

SPEC = ("model", "engine", "resources")
CLUSTER = ("profile", "replicas", "scaling", "rollout", "cache", "parallelism", "api", "suspend", "podTemplate")
"""Fields of `LLMServe.spec` that are about pods."""
MODEL = ("source", "revision", "format", "quantization", "name", "aliases", "secretRef")
ENGINE = ("type", "image", "options", "args", "env")
RESOURCES = ("accelerator", "count", "resourceName", "memory", "cpu", "contextLength")
ENGINES = {"auto": None, "llamacpp": EngineName.LLAMA_CPP, "vllm": EngineName.VLLM, "mlx": EngineName.MLX}
"""A cluster has no Mac, so that its `engine.type` is never mlx."""
ACCELERATORS = ("auto", "cpu", "nvidia", "amd", "intel", "apple")
HUB_TOKEN = "outside a cluster the hub's token is read from HF_TOKEN, or from the file that HF_TOKEN_PATH names"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model to be served.

    :ivar ref: what `serve --model` would be given.
    :ivar name: what requests call it; None: as the store does.
    :ivar aliases: further names.
    :ivar form: in which its files are wanted, because its engine loads no other; None: whichever the agent prefers.
    :ivar settings: fields of `LoadConfig` that differ from the agent's.
    :ivar memory: bytes that it is said to take; None: reckoned.
    :ivar line: where its entry begins.
    """

    ref: str
    name: str | None = None
    aliases: tuple[str, ...] = ()
    form: Form | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory: int | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ServeFile:
    """What a file says.

    :ivar notes: sentences on fields that change nothing here.
    """

    models: tuple[ModelSpec, ...] = ()
    notes: tuple[str, ...] = ()


def parse(text: str, *, file: str) -> ServeFile:
    """Read a `vllama.yaml`.

    :param file: what errors call it.
    :raises ConfigError: names file, line and field, the value, and what is allowed.
    """
    root = yaml_fields.read(text, file=file)
    fields = root.mapping(["models"])
    if "models" not in fields:
        raise root.error("must have a list called models")
    notes: list[str] = []
    models = tuple(_model_spec(entry, notes) for entry in fields["models"].items())
    _check_names(models, file)
    return ServeFile(models, tuple(notes))


def _model_spec(entry: Field, notes: list[str]) -> ModelSpec:
    parts = entry.mapping((*SPEC, *CLUSTER))
    for name in CLUSTER:
        if name in parts:
            _note(notes, parts[name], "is for clusters and changes nothing here")
    if "model" not in parts:
        raise entry.error("must have model, with at least a source")
    model = parts["model"].mapping(MODEL)
    if "source" not in model:
        raise parts["model"].error('must have a source, such as "qwen3:0.6b", org/repo or ./file.gguf')
    if "secretRef" in model:
        model["secretRef"].mapping(("name", "key"))  # nothing but a reference: no token stands in this file
        _note(notes, model["secretRef"], f"is for clusters; {HUB_TOKEN}")
    engine, settings = _engine(parts.get("engine"), notes)
    resources, memory = _resources(parts.get("resources"), notes)
    return ModelSpec(
        ref=reference(model),
        form=_form(model, engine),
        name=_name(model["name"]) if "name" in model else None,
        aliases=tuple(_name(alias) for alias in model["aliases"].items()) if "aliases" in model else (),
        settings=settings | resources,
        memory=memory,
        line=entry.line,
    )


def _name(given: Field) -> str:
    name = ModelName.parse(given.text())
    if name is None:
        raise given.error(f"is {given.text()!r}, which cannot be a model's name; letters, digits and . _ - / : can be in one")
    return name.display


def _engine(given: Field | None, notes: list[str]) -> tuple[EngineName | None, dict[str, Any]]:
    """Which one, None: automatic; and settings."""
    parts = given.mapping(ENGINE) if given is not None else {}
    engine = ENGINES[parts["type"].one_of(*ENGINES)] if "type" in parts else None
    settings: dict[str, Any] = {} if engine is None else {"engine": engine}
    if "image" in parts:
        _note(notes, parts["image"], "is for clusters and changes nothing here")
    if "env" in parts and any(True for _ in parts["env"].items()):
        raise parts["env"].error("is set for pods only; here the engine gets the variables that vllama was started with")
    if "args" in parts and (arguments := _arguments(parts["args"], engine)):
        settings["engine_args"] = arguments
    return engine, settings | (engine_options.read(parts["options"], engine) if "options" in parts else {})


def _arguments(given: Field, engine: EngineName | None) -> tuple[str, ...]:
    """vLLM's, each checked: one that is the agent's own is named with its value."""
    items = list(given.items())
    if items and engine not in (None, EngineName.VLLM):
        raise given.error(f"are arguments of vLLM, and {engine} runs this model; it takes engine.options")
    for item in items:
        if why := vllm_arguments.refusal(item.text()):
            raise item.error(f"is {item.text()!r}, which is not to be given: {why}")
    if items and not items[0].text().startswith("-"):
        raise items[0].error(f"is {items[0].text()!r}, which no argument stands before; arguments begin with --")
    return tuple(item.text() for item in items)


def _form(model: Mapping[str, Field], engine: EngineName | None) -> Form | None:
    """What the engine loads, else what is said."""
    said = Form(model["format"].one_of(*Form)) if "format" in model else None
    if engine is None:
        return said
    form = FORMS[engine]
    if said not in (None, form):
        raise model["format"].error(f"is {said}, and {engine} loads {form}; leave model.format out, or set engine.type to another one")
    if form is not Form.GGUF and "quantization" in model:
        raise model["quantization"].error(
            f"chooses a GGUF, which {engine} does not load; name a quantized repository in model.source, or set engine.type to llamacpp"
        )
    return form


def _resources(given: Field | None, notes: list[str]) -> tuple[dict[str, Any], int | None]:
    """Settings, and bytes of memory."""
    parts = given.mapping(RESOURCES) if given is not None else {}
    settings: dict[str, Any] = {}
    if "accelerator" in parts:
        chosen = parts["accelerator"].one_of(*ACCELERATORS)
        if chosen == "cpu":
            settings["gpu_layers"] = 0
        elif chosen != "auto":
            _note(notes, parts["accelerator"], "is for clusters: here the engine runs on what it was built for")
    for name in ("count", "resourceName"):
        if name in parts:
            _note(notes, parts[name], "is for clusters and changes nothing here")
    if "cpu" in parts:
        settings["threads"] = _threads(parts["cpu"])
    if "contextLength" in parts:
        settings["ctx_size"] = parts["contextLength"].whole(least=16, most=MOST_CONTEXT)
    return settings, _memory(parts["memory"]) if "memory" in parts else None


def _memory(given: Field) -> int:
    try:
        return quantities.parse_bytes(given.text())
    except ValueError as error:
        raise given.error(f"is {given.text()!r}: {error}") from None


def _threads(given: Field) -> int:
    """Of a number of CPUs as Kubernetes writes it: whole, with a fraction, or in thousandths (``1500m``)."""
    text = given.text()
    try:
        cpus = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        cpus = 0.0
    if not 0 < cpus <= 512:
        raise given.error(f'is {text!r}; it must be a number of CPUs such as 2 or "1500m", at most 512')
    return max(1, int(cpus))


def _note(notes: list[str], given: Field, sentence: str) -> None:
    notes.append(f"line {given.line}: {given.path} {sentence}")


def _check_names(models: tuple[ModelSpec, ...], file: str) -> None:
    """No name may mean two models."""
    first: dict[str, int] = {}
    for spec in models:
        for name in {spec.name or spec.ref, *spec.aliases}:
            key = parsed.key if (parsed := ModelName.parse(name)) else name
            if key in first:
                raise ConfigError(
                    f"{file}:{spec.line}: two models are called {name}, the first on line {first[key]}; give one another name"
                )
            first[key] = spec.line
