"""`$VLLAMA_HOME`: bytes under ``blobs/sha256-…``, and for each name a small JSON file under ``manifests/`` that says which bytes it means.

Files appear whole or not at all: they are written under another name and moved. So two processes may share a home without locks.
The schema is documented in docs/store.md. What version 0.1.0 wrote (schema 1) is read as well.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vllama_core.modelref import ModelName

log = logging.getLogger(__name__)

SCHEMA = 2
SHA256_DIGITS = 64
KINDS = ("demo", "hub", "registry", "url", "converted", "created", "imported")
READABLE = 0o644
"""Mode of published files: temporary files are private, but a home may be shared by agents of several users."""
SCRATCH = ".partial-"
"""How the names of files begin that are being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """One file of a model.

    :ivar digest: its sha256 in hexadecimal.
    :ivar size: bytes.
    :ivar name: what it was called where it came from.
    :ivar path: where it lies if not under ``blobs/``: an absolute path in the shared Hugging Face cache, in another tool's store or in a
        layered read-only store. In the file, a path below the home is written relative to it, so that a home can be mounted elsewhere.
    """

    digest: str
    size: int
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model came from.

    :ivar kind: one of `KINDS`.
    :ivar ref: what was asked for, as it was typed.
    :ivar repo: the repository it was found in, such as ``ggml-org/gemma-3-270m-GGUF``.
    :ivar revision: the repository's commit.
    :ivar quantization: what was chosen, such as ``Q4_K_M``.
    :ivar notes: sentences that a person should see: another quantization than asked for, a template that was replaced.
    """

    kind: str
    ref: str
    repo: str | None = None
    revision: str | None = None
    quantization: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a name stands for.

    :ivar files: a GGUF file, or all files of a split set, the first one first.
    :ivar projector: the vision projector beside it.
    :ivar adapters: LoRA adapters.
    :ivar license: texts.
    :ivar template: Jinja text that replaces the file's own.
    :ivar system: the system prompt of a chat that brings none.
    :ivar parameters: options by Ollama's names, below those of a request.
    :ivar messages: turns that stand before those of a request, each with ``role`` and ``content``.
    """

    name: ModelName
    files: tuple[FileRef, ...]
    source: Source
    projector: FileRef | None = None
    adapters: tuple[FileRef, ...] = ()
    license: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = ()

    @property
    def all_files(self) -> tuple[FileRef, ...]:
        """Files, projector and adapters."""
        return (*self.files, *((self.projector,) if self.projector else ()), *self.adapters)

    @property
    def digest(self) -> str:
        """64 hex digits for what the model is, whatever its name: of a bare file its sha256, else one over everything that answers
        depend on. A copy has the digest of what it copies.
        """
        told = {key: getattr(self, key) for key in ("template", "system", "parameters", "messages") if getattr(self, key)}
        digests = [file.digest for file in self.all_files]
        if not told and len(digests) == 1:
            return digests[0]
        return hashlib.sha256(json.dumps([digests, told], sort_keys=True).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.all_files)


def blob(home: Path, digest: str) -> Path:
    """Where the bytes with this sha256 lie."""
    return home / "blobs" / f"sha256-{digest}"


def located(home: Path, file: FileRef) -> Path:
    """Where a file's bytes lie."""
    return Path(file.path) if file.path is not None else blob(home, file.digest)


def pinned_to(home: Path, manifest: Manifest) -> Manifest:
    """The same with every file's place in it, so that it means the same bytes in another home."""

    def placed(file: FileRef) -> FileRef:
        return replace(file, path=str(located(home, file).absolute()))

    return replace(
        manifest,
        files=tuple(map(placed, manifest.files)),
        projector=placed(manifest.projector) if manifest.projector else None,
        adapters=tuple(map(placed, manifest.adapters)),
    )


def path_of(home: Path, name: ModelName) -> Path:
    """Where a name's manifest lies. Lower case: names that differ only in case are one model, whatever the file system thinks."""
    parts = (name.host, name.namespace, name.model, f"{name.tag}.json")
    return home.joinpath("manifests", *(part.lower() for part in parts))


def home_of(path: Path) -> Path:
    """The home that a manifest's path belongs to."""
    return path.parents[4]


def write(home: Path, manifest: Manifest) -> None:
    """Publish a manifest."""
    target = path_of(home, manifest.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=SCRATCH)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(_as_json(home, manifest), file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, READABLE)
        os.replace(scratch, target)
    finally:
        Path(scratch).unlink(missing_ok=True)


def paths(home: Path) -> Iterator[Path]:
    """Every manifest there is."""
    return (path for path in home.joinpath("manifests").glob("*/*/*/*.json") if not path.name.startswith("."))


def read(path: Path) -> Manifest | None:
    """None, and a line in the log, if the file cannot be read as a manifest."""
    try:
        return load(path)
    except ValueError as error:
        log.warning("%s", error)
        return None


def load(path: Path) -> Manifest:
    """As `read`, for callers that tell themselves what is wrong.

    :raises ValueError: the file cannot be read as a manifest; names it.
    """
    try:
        return _parsed(home_of(path), json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest ({type(error).__name__}: {error}); its model is left out") from error


def _as_json(home: Path, manifest: Manifest) -> dict[str, Any]:
    name, source = manifest.name, manifest.source
    fields = {
        "schema": SCHEMA,
        "name": {"host": name.host, "namespace": name.namespace, "model": name.model, "tag": name.tag},
        "files": [_file_json(home, file) for file in manifest.files],
        "projector": manifest.projector and _file_json(home, manifest.projector),
        "adapters": [_file_json(home, file) for file in manifest.adapters],
        "source": _without_empty({key: getattr(source, key) for key in ("kind", "ref", "repo", "revision", "quantization", "notes")}),
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


def _parsed(home: Path, fields: dict[str, Any]) -> Manifest:
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


def is_digest(digits: str) -> bool:
    """Whether this is a sha256 in lower-case hexadecimal."""
    return len(digits) == SHA256_DIGITS and set(digits) <= set("0123456789abcdef")
