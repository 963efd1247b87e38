"""What the layers of a model artifact hold, by whoever published it. Pure.

Docker Model Runner has a media type for each kind of file; ModelPack (CNCF) and KitOps have one for weights of any format, and say with
it whether the file lies in an archive; ORAS puts files of any kind into layers of any type, and their names into an annotation.

https://github.com/docker/model-spec, https://github.com/modelpack/model-spec/blob/main/docs/spec.md,
https://kitops.org/docs/modelkit/spec/, https://oras.land/docs/concepts/artifact
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllama_agent.store import descriptors, folder_picks
from vllama_core.errors import ConfigError, FetchFailed

NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath", "org.cnai.model.filepath")
"""Annotations with a file's path."""
UNPACK = "io.deis.oras.content.unpack"
"""ORAS's annotation of a folder, which it archives."""
KINDS = {
    "application/vnd.docker.ai.gguf.v3": "model",
    "application/vnd.docker.ai.gguf.v3.lora": "adapter",
    "application/vnd.docker.ai.mmproj": "projector",
    "application/vnd.docker.ai.license": "license",
    "application/vnd.docker.ai.chat.template.jinja": "template",
    "application/vnd.ollama.image.model": "model",
    "application/vnd.ollama.image.projector": "projector",
    "application/vnd.ollama.image.license": "license",
}
_WEIGHTS = re.compile(
    r"application/vnd\.(?:cncf|cnai)\.model\.weight\.v\d+\.(?P<modelpack>[a-z+]+)"
    r"|application/vnd\.kitops\.modelkit\.model(?:part)?\.v\d+\.(?P<kitops>[a-z+]+)"
)
_ARCHIVES = ("tar", "tar+gzip", "tgz")


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob.

    :ivar kind: ``model``, ``projector``, ``adapter``, ``license``, ``template``, ``archive``, or ``other``.
    :ivar digest: sha256 in hexadecimal.
    :ivar size: bytes.
    :ivar name: the file's, without its folder; empty: nobody says.
    """

    kind: str
    digest: str
    size: int
    name: str = ""


def layers(manifest: Mapping[str, Any], *, shown: str) -> list[Layer]:
    """A manifest's layers, in order.

    :param shown: what errors call the artifact.
    :raises FetchFailed: it is no manifest.
    :raises ConfigError: its weights are packed in a way that is not unpacked here.
    """
    try:
        return [_layer(fields, shown) for fields in manifest["layers"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FetchFailed(f"the registry's manifest of {shown} cannot be used: {type(error).__name__}: {error}") from None


def _layer(fields: Any, shown: str) -> Layer:
    found = descriptors.parse(fields)
    notes = fields.get("annotations") or {}
    path = next((str(notes[key]) for key in NAMES if notes.get(key)), "")
    return Layer(_kind(found.media_type, path, notes, shown), found.digest, found.size, path.rpartition("/")[2])


def _kind(media: str, path: str, notes: Mapping[str, Any], shown: str) -> str:
    if media in KINDS:
        return KINDS[media]
    weights = _WEIGHTS.fullmatch(media)
    form = (weights["modelpack"] or weights["kitops"]) if weights else ""
    if form in _ARCHIVES:
        return "archive"
    if form not in ("", "raw"):
        raise ConfigError(f"{shown} has its weights as {form}, which is not unpacked here; publish them raw, or as tar or tar+gzip")
    name = path.rpartition("/")[2].lower()
    if name.endswith(".gguf"):
        return "projector" if "mmproj" in name else "model"
    if str(notes.get(UNPACK, "")).lower() == "true":
        return "archive"
    if not path and (weights or "gguf" in media.lower()):
        return "model"
    return "license" if name.startswith("license") else "other"


@dataclass(frozen=True, slots=True)
class Model:
    """The layers that matter, of one model."""

    files: tuple[Layer, ...]
    projector: Layer | None
    archives: tuple[Layer, ...]
    licenses: tuple[Layer, ...]
    templates: tuple[Layer, ...]


def model(found: list[Layer], *, shown: str) -> Model:
    """One model: a GGUF file, the files of one split set, or archives that may hold them.

    :raises ConfigError: there is none, or more than one, or one with an adapter.
    """
    by_kind: dict[str, list[Layer]] = {}
    for layer in found:
        by_kind.setdefault(layer.kind, []).append(layer)
    files, archives = by_kind.get("model", []), by_kind.get("archive", [])
    if not files and not archives:
        held = ", ".join(layer.name or f"a layer of {layer.size} bytes" for layer in found[:5]) or "nothing"
        raise ConfigError(f"{shown} holds no GGUF file, only {held}; an artifact with a layer of GGUF is needed")
    if by_kind.get("adapter"):
        raise ConfigError(f"{shown} has a LoRA adapter, which is not applied here; take the artifact of the model without it")
    if len({folder_picks.SPLIT.sub("", layer.name) for layer in files if layer.name}) > 1:
        raise ConfigError(f"{shown} holds more than one model: {', '.join(layer.name for layer in files)}; publish one in each artifact")
    if files and folder_picks.missing_parts([layer.name for layer in files]):
        raise ConfigError(f"{shown} lacks a part of its split set; it has {', '.join(layer.name for layer in files)}")
    # the files of a split set have names with numbers, or none and then the right order
    files.sort(key=lambda layer: layer.name if folder_picks.SPLIT.search(layer.name) else "")
    projectors = by_kind.get("projector", [])
    return Model(
        files=tuple(files),
        projector=projectors[0] if projectors else None,
        archives=() if files else tuple(archives),
        licenses=tuple(by_kind.get("license", [])),
        templates=tuple(by_kind.get("template", [])),
    )
