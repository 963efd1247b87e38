"""What lists show of a GGUF header, kept beside the store: a large vocabulary takes 50 ms to step over, 200 models must list in 150 ms.

A brief is the header without arrays, templates and tensors. It is kept by the file's sha256 under ``cache/headers/``; losing it costs
nothing but time.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from vllama_agent.store import header, manifests
from vllama_core.gguf import GgufHeader

log = logging.getLogger(__name__)

VERSION = 1
LEFT_OUT = "tokenizer.chat_template"


def of(found: GgufHeader) -> GgufHeader:
    """A header's brief. Parameters are counted once, since their tensors are left out."""
    plain = {key: value for key, value in found.metadata.items() if isinstance(value, (str, int, float, bool)) and key != LEFT_OUT}
    return replace(found, metadata=plain | {"general.parameter_count": found.parameter_count}, tensors=())


def read(home: Path, digest: str, file: Path) -> GgufHeader:
    """The brief of a file with this sha256: the kept one, or one that is made and kept now.

    :raises GgufError: it is no GGUF file, or not a whole one.
    :raises OSError: it cannot be read.
    """
    path = path_of(home, digest)
    kept = _kept(path)
    if kept is not None:
        return kept
    made = of(header.read(file))
    _keep(path, made)
    return made


def path_of(home: Path, digest: str) -> Path:
    """Where the brief of a file with this sha256 is kept."""
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


def _keep(path: Path, brief: GgufHeader) -> None:
    """A home that cannot be written is a slower one, not a broken one."""
    fields = {"version": VERSION, "gguf": brief.version, "metadata": brief.metadata, "data_start": brief.data_start}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=manifests.SCRATCH)
        with os.fdopen(handle, "w") as file:
            json.dump(fields, file, ensure_ascii=False)
        os.chmod(scratch, manifests.READABLE)
        os.replace(scratch, path)
    except OSError as error:
        log.debug("%s cannot be kept: %s", path, error)
