"""New models of what is here: which file is what, and the manifest that they make together. It blocks: headers are read from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllama_agent.store import digests, header, manifests
from vllama_agent.store.library import Library
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.errors import InvalidRequest
from vllama_core.gguf import GgufError, GgufHeader
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a new model says beside its files. None: as the model that it is made from.

    :ivar parameters: over those of that model, name by name.
    """

    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    license: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """GGUF files by what they are."""

    model: tuple[FileRef, ...] = ()
    projector: FileRef | None = None
    adapters: tuple[FileRef, ...] = ()


def parts_of(library: Library, given: Mapping[str, str], *, field: str) -> Parts:
    """Look into uploaded files.

    :param given: sha256 by file name.
    :param field: what the request calls them.
    :raises InvalidRequest: one is not here or is no GGUF file, or they are not one model.
    """
    model: dict[str, tuple[FileRef, GgufHeader]] = {}
    projector: FileRef | None = None
    adapters: list[FileRef] = []
    for name, digest in sorted(given.items()):
        file, found = _looked_at(library, name, digest, field)
        match _kind(found):
            case "model":
                model[name] = (file, found)
            case "projector" if projector is None:
                projector = file
            case "adapter":
                adapters.append(file)
            case _:
                raise InvalidRequest(f"{field} has two projectors; a model has at most one", field=field)
    return Parts(_one_set(model, field), projector, tuple(adapters))


def _looked_at(library: Library, name: str, digest: str, field: str) -> tuple[FileRef, GgufHeader]:
    path = library.blob(digest)
    if path is None:
        raise InvalidRequest(f"{field}: the blob sha256:{digest} of {name} is not here; send it to /api/blobs first", field=field)
    try:
        found = header.read(path)
    except GgufError as error:
        raise InvalidRequest(f"{field}: {name} cannot be used: {error}", field=field) from None
    ours = path == manifests.blob(library.layers.home, digest)
    return FileRef(digest=digest, size=path.stat().st_size, name=Path(name).name, path=None if ours else str(path.absolute())), found


def _kind(found: GgufHeader) -> str:
    """https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: `general.type`; projectors have an architecture of their own."""
    if found.metadata.get("general.type") == "adapter":
        return "adapter"
    return "projector" if found.architecture == "clip" or found.metadata.get("general.type") == "mmproj" else "model"


def _one_set(model: Mapping[str, tuple[FileRef, GgufHeader]], field: str) -> tuple[FileRef, ...]:
    """The files of one model, the first one first. Their headers say which they are: blobs have lost their names."""
    if len(model) < 2:
        return tuple(file for file, _ in model.values())
    numbers = {name: (found.metadata.get("split.no"), found.metadata.get("split.count")) for name, (_, found) in model.items()}
    if sorted(numbers.values(), key=str) != sorted(((number, len(model)) for number in range(len(model))), key=str):
        raise InvalidRequest(
            f"{field} has {len(model)} models that are not all files of one split set: {', '.join(model)}; give one model", field=field
        )
    return tuple(model[name][0] for name in sorted(model, key=lambda name: numbers[name]))


def made_from_files(name: ModelName, parts: Parts, changes: Changes) -> Manifest:
    """A manifest for uploaded files.

    :raises InvalidRequest: there is no model among them.
    """
    if not parts.model:
        raise InvalidRequest("files has no model, only a projector or an adapter", field="files")
    source = Source(kind="imported", ref=parts.model[0].name or "")
    return changed(Manifest(name=name, files=parts.model, projector=parts.projector, adapters=parts.adapters, source=source), changes)


def made_from_model(name: ModelName, base: Manifest, parts: Parts, changes: Changes) -> Manifest:
    """A manifest over another model.

    :param parts: adapters to add.
    """
    source = replace(base.source, kind="created", ref=base.name.display)
    made = replace(base, name=name, source=source, adapters=(*base.adapters, *parts.adapters))
    return changed(made, changes)


def changed(manifest: Manifest, changes: Changes) -> Manifest:
    """The same model with other words."""
    given = {key: getattr(changes, key) for key in ("template", "system", "messages", "license") if getattr(changes, key) is not None}
    return replace(manifest, **given, parameters={**manifest.parameters, **(changes.parameters or {})})


def renamed(manifest: Manifest, name: ModelName) -> Manifest:
    """A copy."""
    return replace(manifest, name=name)


def manifest_of(name: ModelName, paths: Sequence[Path], *, form: Form, license_texts: tuple[str, ...]) -> Manifest:
    """A manifest for files of a user, which stay where they are. Reads them all: a manifest names bytes by their sha256."""
    found = tuple(
        FileRef(digest=digests.sha256_of(path), size=path.stat().st_size, name=path.name, path=str(path.absolute())) for path in paths
    )
    return Manifest(name=name, files=found, form=form, source=Source(kind="imported", ref=str(paths[0])), license=license_texts)
