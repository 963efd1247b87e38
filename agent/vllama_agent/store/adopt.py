"""Another program's store, taken over without copying a byte: Ollama's, by its manifests and blobs.

A manifest there lists layers by media type; the bytes lie under ``blobs/sha256-…`` as they do here. Ours names their places.
https://github.com/ollama/ollama/blob/main/docs/faq.mdx#where-are-models-stored
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllama_agent.apis import options
from vllama_agent.chat import go_templates
from vllama_agent.store import header
from vllama_agent.store.digests import is_digest
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core import architectures
from vllama_core.errors import ConfigError
from vllama_core.gguf import GgufError, GgufHeader
from vllama_core.modelref import ModelName

LAYER = "application/vnd.ollama.image."
SMALL = 16 << 20
"""Bytes. Templates, licences and parameters have some thousand."""


@dataclass(frozen=True, slots=True)
class Adoptable:
    """A model that was found.

    :ivar path: its manifest.
    """

    root: Path
    name: ModelName
    path: Path


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    file: FileRef
    place: Path

    def text(self) -> str:
        """Its bytes, for small ones.

        :raises ConfigError: it is larger than any real one.
        """
        if self.file.size > SMALL:
            raise ConfigError(f"its {self.kind} has {self.file.size} bytes; no real one has more than {SMALL}")
        return self.place.read_text(encoding="utf-8")


def found_in(root: Path) -> list[Adoptable]:
    """All models of a store, by name.

    :raises ConfigError: there is no store.
    """
    if not (root / "manifests").is_dir():
        raise ConfigError(f"{root} is no store of Ollama: it has no folder 'manifests'; name the right one with --path")
    return sorted(_named(root), key=lambda model: model.name.key)


def _named(root: Path) -> Iterator[Adoptable]:
    for path in root.glob("manifests/*/*/*/*"):
        name = ModelName.parse("/".join(path.parts[-4:-1]) + f":{path.name}")
        if path.is_file() and name is not None:
            yield Adoptable(root, name, path)


def manifest_of(model: Adoptable) -> Manifest:
    """What a model is, as a manifest of ours.

    :raises ConfigError: it cannot be served here; the sentence says why, and the way out.
    """
    try:
        return _manifest(model)
    except ConfigError as error:
        raise ConfigError(f"{model.name.display}: {error}") from None
    except (OSError, GgufError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{model.name.display}: its files cannot be used ({error}); pull it again with either program") from error


def _manifest(model: Adoptable) -> Manifest:
    listed = json.loads(model.path.read_bytes())
    layers = [_layer(model.root, fields) for fields in listed["layers"]]
    by_kind: dict[str, list[_Layer]] = {}
    for layer in layers:
        by_kind.setdefault(layer.kind, []).append(layer)
    if len(by_kind.get("model", ())) != 1:
        raise ConfigError("it has no GGUF file (it is a model of Ollama's cloud, or of its own format); pull it from the hub instead")
    weights = by_kind["model"][0]
    read = header.read(weights.place)
    why = architectures.refusal(read)
    if why is not None:
        raise ConfigError(f"{why}; take the GGUF of the hub instead, with `vllama pull hf.co/OWNER/NAME-GGUF`")
    template, notes = _template(read, by_kind, renderer=_renderer(model.root, listed.get("config") or {}))
    parameters, more = _parameters(by_kind)
    return Manifest(
        name=model.name,
        files=(weights.file,),
        projector=by_kind["projector"][0].file if "projector" in by_kind else None,
        adapters=tuple(layer.file for layer in by_kind.get("adapter", ())),
        source=Source(kind="imported", ref=f"ollama:{model.name.display}", quantization=read.quantization, notes=(*notes, *more)),
        license=tuple(layer.text() for layer in by_kind.get("license", ())),
        template=template,
        system=by_kind["system"][0].text() if "system" in by_kind else None,
        parameters=parameters,
        messages=tuple(json.loads(by_kind["messages"][0].text())) if "messages" in by_kind else (),
    )


def _layer(root: Path, fields: dict[str, Any]) -> _Layer:
    kind = str(fields["mediaType"]).partition(";")[0].removeprefix(LAYER)
    digits = str(fields["digest"]).partition(":")[2]
    if not is_digest(digits):
        raise ConfigError(f"its manifest names {fields['digest']!r}, which is no sha256 digest")
    place = (root / "blobs" / f"sha256-{digits}").absolute()
    size = place.stat().st_size
    if size != fields["size"]:
        raise ConfigError(f"{place} has {size} bytes and should have {fields['size']}; pull it again with either program")
    return _Layer(kind, FileRef(digest=digits, size=size, path=str(place)), place)


def _renderer(root: Path, config: dict[str, Any]) -> str | None:
    """The code inside Ollama that makes the model's prompts; None: its template does."""
    if not config.get("digest"):
        return None
    found = json.loads(_layer(root, {"mediaType": "config", **config}).text()).get("renderer")
    return str(found) if found else None


def _template(read: GgufHeader, by_kind: dict[str, list[_Layer]], *, renderer: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The file's own template before all, then a translation that is certain, and never a guess."""
    own = read.metadata.get("tokenizer.chat_template")
    layer = by_kind["template"][0] if "template" in by_kind else None
    if isinstance(own, str):
        return None, ("Its Go template is replaced by the file's own Jinja template.",) if layer else ()
    if f"{read.architecture}.pooling_type" in read.metadata:
        return None, ()
    if renderer is not None:
        raise ConfigError(
            f"its file has no chat template, and its prompts are made by code inside Ollama ({renderer}); write its template in Jinja as "
            f"TEMPLATE of a Modelfile, behind FROM {by_kind['model'][0].place}"
        )
    if layer is None:
        return None, ()
    try:
        return go_templates.to_jinja(layer.text()), ("Its Go template was translated into Jinja.",)
    except go_templates.UnknownTemplate as error:
        file = by_kind["model"][0].place
        raise ConfigError(
            f"its file has no chat template, and as to its own: {error}, as TEMPLATE of a Modelfile, behind FROM {file}"
        ) from None


def _parameters(by_kind: dict[str, list[_Layer]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Known parameters with right values, and a note on each that is neither."""
    given = json.loads(by_kind["params"][0].text()) if "params" in by_kind else {}
    return options.legal(given)
