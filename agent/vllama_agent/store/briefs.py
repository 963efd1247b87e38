"""What lists show of a model's header, kept beside the store: a large vocabulary takes 50 ms to step over, 200 models must list in 150 ms.

A brief is the header without arrays and tensors. It is kept by the sha256 of a GGUF file, else by the model's digest, under
``cache/headers/``; losing it costs nothing but time.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllama_agent.store import header, hf_files, manifests
from vllama_agent.store.manifest import Manifest
from vllama_core.gguf import GgufHeader
from vllama_core.model_form import Form

log = logging.getLogger(__name__)

VERSION = 2


def of(found: GgufHeader) -> GgufHeader:
    """A header's brief. Parameters are counted once, since their tensors are left out."""
    plain = {key: value for key, value in found.metadata.items() if isinstance(value, (str, int, float, bool))}
    return replace(found, metadata=plain | {"general.parameter_count": found.parameter_count}, tensors=())


def of_manifest(home: Path, manifest: Manifest, files: Sequence[Path]) -> GgufHeader:
    """The brief of a model: the kept one, or one that is made and kept now.

    :param home: where it is kept.
    :param files: the places of the manifest's.
    :raises UnreadableModel: a file is not what its form promises, or not whole.
    :raises OSError: one cannot be read.
    """
    if manifest.form is Form.HUGGING_FACE:
        return _read(path_of(home, manifest.digest), lambda: hf_files.header(files))
    return _read(path_of(home, manifest.files[0].digest), lambda: header.read(files[0]))


def _read(path: Path, whole: Callable[[], GgufHeader]) -> GgufHeader:
    kept = _kept(path)
    if kept is not None:
        return kept
    made = of(whole())
    keep(path, {"version": VERSION, "gguf": made.version, "metadata": made.metadata, "data_start": made.data_start})
    return made


def path_of(home: Path, digest: str) -> Path:
    """Where the brief of the file or the model with this digest is kept."""
    return home / "cache" / "headers" / f"{digest}.json"


def _kept(path: Path) -> GgufHeader | None:
    try:
        fields = json.loads(path.read_bytes())
        if fields["version"] != VERSION:
            return None
        return GgufHeader(version=fields["gguf"], metadata=dict(fields["metadata"]), tensors=(), data_start=fields["data_start"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s) and is made anew", path, error)
        return None


def keep(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a file of the cache. A home that cannot be written is a slower one, not a broken one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=manifests.SCRATCH)
        with os.fdopen(handle, "w") as file:
            json.dump(fields, file, ensure_ascii=False)
        os.chmod(scratch, manifests.READABLE)
        os.replace(scratch, path)
    except OSError as error:
        log.debug("%s cannot be kept: %s", path, error)
