"""Manifests as JSON. Pure; the schema is documented in docs/store.md. What version 0.1.0 wrote (schema 1) is read as well."""

from __future__ import annotations

from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

from vllama_agent.store.digests import is_digest
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName

SCHEMA = 2


def written(home: Path, manifest: Manifest) -> dict[str, Any]:
    """A manifest of this home as JSON."""
    name, source = manifest.name, manifest.source
    fields = {
        "schema": SCHEMA,
        "name": {"host": name.host, "namespace": name.namespace, "model": name.model, "tag": name.tag},
        "form": None if manifest.form is Form.GGUF else manifest.form,
        "files": [_file_json(home, file) for file in manifest.files],
        "projector": manifest.projector and _file_json(home, manifest.projector),
        "adapters": [_file_json(home, file) for file in manifest.adapters],
        "source": _without_empty({field.name: getattr(source, field.name) for field in fields_of(source)}),
        "license": manifest.license,
        "template": manifest.template,
        "system": manifest.system,
        "parameters": manifest.parameters,
        "messages": manifest.messages,
    }
    return _without_empty(fields)


def _file_json(home: Path, file: FileRef) -> dict[str, Any]:
    path = file.path
    if path is not None and Path(path).is_relative_to(home.absolute()):
        path = str(Path(path).relative_to(home.absolute()))
    return _without_empty({"digest": f"sha256:{file.digest}", "size": file.size, "name": file.name, "path": path})


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, (), [], {})}


def read(home: Path, fields: dict[str, Any]) -> Manifest:
    """A manifest of this home.

    :raises ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    match fields["schema"]:
        case 1:
            return _schema_1(fields)
        case 2:
            return _schema_2(home, fields)
        case other:
            raise ValueError(f"its schema is {other}, this version knows 1 and 2")


def _schema_1(fields: dict[str, Any]) -> Manifest:
    """Version 0.1.0 stored one model, the demo, in one file."""
    [file] = fields["files"]
    name = ModelName(**fields["name"])
    license_text = fields.get("license")
    return Manifest(
        name=name,
        files=(FileRef(digest=_digest(file), size=int(fields["size"])),),
        source=Source(kind="demo", ref=name.display),
        license=(license_text,) if license_text else (),
    )


def _schema_2(home: Path, fields: dict[str, Any]) -> Manifest:
    files = tuple(_file(home, file) for file in fields["files"])
    if not files:
        raise ValueError("it names no files")
    source = fields["source"]
    return Manifest(
        name=ModelName(**fields["name"]),
        files=files,
        form=Form(fields.get("form", Form.GGUF)),
        projector=_file(home, fields["projector"]) if fields.get("projector") else None,
        adapters=tuple(_file(home, file) for file in fields.get("adapters", ())),
        source=Source(**{**source, "notes": tuple(source.get("notes", ()))}),
        license=tuple(fields.get("license", ())),
        template=fields.get("template"),
        system=fields.get("system"),
        parameters=dict(fields.get("parameters", {})),
        messages=tuple(dict(message) for message in fields.get("messages", ())),
    )


def _file(home: Path, fields: dict[str, Any]) -> FileRef:
    path = fields.get("path")
    return FileRef(
        digest=_digest(fields["digest"]),
        size=int(fields["size"]),
        name=fields.get("name"),
        path=str(home.absolute() / path) if path is not None else None,
    )


def _digest(text: str) -> str:
    """Checked, because it becomes a part of a path."""
    kind, _, digits = text.partition(":")
    if kind != "sha256" or not is_digest(digits):
        raise ValueError(f"{text!r} is no sha256 digest")
    return digits
