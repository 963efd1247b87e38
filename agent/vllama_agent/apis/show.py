"""What a model's GGUF header tells, in the fields of /api/show and /api/tags.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from vllama_agent.chat import families
from vllama_core import modelfile as modelfiles
from vllama_core.gguf import GgufHeader
from vllama_core.model_form import Form
from vllama_core.modelfile import Modelfile

REMOVED = ("general.name", "tokenizer.chat_template")
LONG_ARRAY = 5
"""Longer arrays are shown empty unless `verbose`: vocabularies have hundreds of thousands of entries."""


def capabilities(metadata: dict[str, Any], template: str | None = None, family: str | None = None) -> list[str]:
    """What this version can do with the model; the loaded engine's word goes before this guess.

    :param template: the model's own, instead of the file's.
    :param family: see `config.LoadConfig.chat_family`.
    """
    if f"{metadata.get('general.architecture', '')}.pooling_type" in metadata:
        return []  # it embeds, which no route of this version serves
    insert = "tokenizer.ggml.fim_pre_token_id" in metadata or "tokenizer.ggml.prefix_token_id" in metadata
    return ["completion", *(["insert"] if insert else []), *chat_capabilities(metadata, template, family)]


def chat_capabilities(metadata: dict[str, Any], template: str | None, family: str | None) -> list[str]:
    """`tools` and `thinking`, as the template shows them."""
    stored = (metadata.get("tokenizer.chat_template"), metadata.get("tokenizer.chat_template.tool_use"))
    texts = [text for text in ((template,) if template is not None else stored) if isinstance(text, str)]
    return sorted(frozenset[str]().union(*(families.of(text, family).capabilities for text in texts)))


def model_info(header: GgufHeader, *, verbose: bool) -> dict[str, Any]:
    """The metadata as clients read it; `general.parameter_count` is always there."""
    info = {key: _shortened(value, verbose) for key, value in header.metadata.items() if key not in REMOVED}
    info["general.parameter_count"] = header.parameter_count
    return dict(sorted(info.items()))


def _shortened(value: Any, verbose: bool) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    # the length first: it is free, while a long array's values are read from the file
    return list(value) if verbose or len(value) <= LONG_ARRAY else []


def tensor_objects(tensors: Any) -> list[dict[str, Any]]:
    """`tensors` of a verbose answer."""
    return [{"name": tensor[0], "type": str(tensor[2]), "shape": list(tensor[1])} for tensor in tensors]


def modelfile(artifact: Any, template: str) -> str:
    """A Modelfile that would make the same model."""
    made = Modelfile(
        base=tuple(str(path) for path in (*_bases(artifact), *((artifact.projector,) if artifact.projector else ()))),
        adapters=tuple(str(path) for path in artifact.adapters),
        template=template or None,
        system=artifact.system,
        license=artifact.license,
        parameters={name: tuple(_written(item) for item in _items(value)) for name, value in artifact.parameters.items()},
        messages=tuple((turn["role"], turn["content"]) for turn in artifact.messages),
    )
    name = artifact.name
    head = f"# Modelfile of {name}, made by vllama. To make another model of it, replace FROM by this line:\n# FROM {name}\n\n"
    return head + modelfiles.write(made)


def _bases(artifact: Any) -> tuple[Path, ...]:
    """What FROM names: files, or the one folder that they are in."""
    return artifact.files if artifact.form is Form.GGUF else (artifact.folder,)


def parameters_text(parameters: dict[str, Any]) -> str:
    """`parameters`: a line for each value, names padded to 30 columns, texts in quotation marks; clients parse it."""
    return "\n".join(f"{name:<30} {_quoted(item)}" for name, value in parameters.items() for item in _items(value))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _written(value)


def short_name(name: str) -> str:
    """The display form of a name that no stored model has: with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def previewed(artifact: Any, changes: dict[str, Any]) -> Any:
    """The model as it would be with a request's changes. Options stand over its own, one by one."""
    parameters = artifact.parameters | changes.get("parameters", {})
    return replace(artifact, **changes | {"parameters": parameters}) if changes else artifact


def show_object(artifact: Any, *, verbose: bool, capabilities: list[str]) -> dict[str, Any]:
    """The reply of /api/show; `model_info` is always there, empty keys are left out."""
    metadata, tensors = artifact.header.metadata, artifact.header.tensors
    template = artifact.template or metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) else ""
    reply = {
        "license": "\n".join(artifact.license),
        "modelfile": modelfile(artifact, template),
        "parameters": parameters_text(artifact.parameters),
        "template": template,
        "system": artifact.system,
        "details": artifact.details(),
        "messages": list(artifact.messages),
        "model_info": model_info(artifact.header, verbose=verbose),
        "projector_info": projector_info(artifact, verbose=verbose),
        "tensors": tensor_objects(tensors) if verbose else None,
        "capabilities": capabilities,
        "notes": list(artifact.notes),
        "modified_at": artifact.modified_at.astimezone().isoformat(timespec="microseconds"),
    }
    return {key: value for key, value in reply.items() if value or key == "model_info"}


def projector_info(artifact: Any, *, verbose: bool) -> dict[str, Any] | None:
    """The metadata of the projector's file; None: there is none."""
    found = artifact.projector_header
    return model_info(found, verbose=verbose) if found is not None else None
