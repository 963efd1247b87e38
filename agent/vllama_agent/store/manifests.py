"""`$VLLAMA_HOME`: bytes under ``blobs/sha256-…``, and for each name a small JSON file under ``manifests/`` that says which bytes it means.

Files appear whole or not at all: they are written under another name and moved. So two processes may share a home without locks.
`manifest` says what is in them, `manifest_json` how it is written.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vllama_agent.store import manifest_json
from vllama_agent.store.manifest import FileRef, Manifest
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName

log = logging.getLogger(__name__)

READABLE = 0o644
"""Mode of published files: temporary files are private, but a home may be shared by agents of several users."""
SCRATCH = ".partial-"
"""How the names of files begin that are being written."""


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


def path_of(home: Path, name: ModelName, form: Form = Form.GGUF) -> Path:
    """Where a name's manifest lies. Lower case: names that differ only in case are one model, whatever the file system thinks.

    A model may be here in both forms under one name: they are one model to whoever asks for it, and each engine takes the form that it
    loads. Hence a manifest for each form, whose files come and go by themselves; no tag has a plus sign, so their names never meet.
    """
    suffix = "" if form is Form.GGUF else f"+{form}"
    parts = (name.host, name.namespace, name.model, f"{name.tag}{suffix}.json")
    return home.joinpath("manifests", *(part.lower() for part in parts))


def home_of(path: Path) -> Path:
    """The home that a manifest's path belongs to."""
    return path.parents[4]


def write(home: Path, manifest: Manifest) -> None:
    """Publish a manifest."""
    target = path_of(home, manifest.name, manifest.form)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=SCRATCH)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(manifest_json.written(home, manifest), file, indent=1, ensure_ascii=False)
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
        return manifest_json.read(home_of(path), json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest ({type(error).__name__}: {error}); its model is left out") from error
