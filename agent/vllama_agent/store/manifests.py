"""`$VLLAMA_HOME`: bytes under ``blobs/sha256-…``, and for each name a small JSON file under ``manifests/`` that says which bytes it means.

Files appear whole or not at all: they are written under another name and moved. So two processes may share a home without locks.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllama_core.modelref import ModelName

log = logging.getLogger(__name__)

SCHEMA = 1
SHA256_DIGITS = 64
READABLE = 0o644
"""Mode of published files: temporary files are private, but a home may be shared by agents of several users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a name stands for.

    :ivar digests: sha256 of each file in hexadecimal, the first one first.
    :ivar size: bytes of all files.
    """

    name: ModelName
    digests: tuple[str, ...]
    size: int
    license: str | None = None


def blob(home: Path, digest: str) -> Path:
    """Where the bytes with this sha256 lie."""
    return home / "blobs" / f"sha256-{digest}"


def path_of(home: Path, name: ModelName) -> Path:
    """Where a name's manifest lies. Lower case: names that differ only in case are one model, whatever the file system thinks."""
    parts = (name.host, name.namespace, name.model, f"{name.tag}.json")
    return home.joinpath("manifests", *(part.lower() for part in parts))


def write(home: Path, manifest: Manifest) -> None:
    """Publish a manifest."""
    name = manifest.name
    text = json.dumps(
        {
            "schema": SCHEMA,
            "name": {"host": name.host, "namespace": name.namespace, "model": name.model, "tag": name.tag},
            "files": [f"sha256:{digest}" for digest in manifest.digests],
            "size": manifest.size,
            "license": manifest.license,
        },
        indent=1,
    )
    target = path_of(home, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(scratch, READABLE)
    os.replace(scratch, target)


def paths(home: Path) -> Iterator[Path]:
    """Every manifest there is."""
    return (path for path in home.joinpath("manifests").glob("*/*/*/*.json") if not path.name.startswith("."))


def read(path: Path) -> Manifest | None:
    """None, and a line in the log, if the file cannot be read as a manifest."""
    try:
        return _parsed(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is no manifest (%s); its model is left out", path, error)
        return None


def _parsed(fields: dict[str, Any]) -> Manifest:
    if fields["schema"] != SCHEMA:
        raise ValueError(f"its schema is {fields['schema']}, this version knows {SCHEMA}")
    digests = tuple(_digest(file) for file in fields["files"])
    if not digests:
        raise ValueError("it names no files")
    return Manifest(name=ModelName(**fields["name"]), digests=digests, size=int(fields["size"]), license=fields.get("license"))


def _digest(text: str) -> str:
    """Checked, because it becomes a part of a path."""
    kind, _, digits = text.partition(":")
    if kind != "sha256" or len(digits) != SHA256_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"{text!r} is no sha256 digest")
    return digits
