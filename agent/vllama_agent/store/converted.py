"""Conversions that were made before: the same revision, quantization and converter give the same file, so it is made once.

The bytes lie in ``$VLLAMA_HOME/blobs`` like all others; ``$VLLAMA_HOME/conversions/<key>.json`` says which blob a conversion became. A
record whose blob was removed since counts for nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path

from vllama_agent.store import children, conversion, manifests
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.convert import convert
from vllama_agent.store.events import OnEvent
from vllama_core import quantization as quantizations


async def ensure(
    snapshot: Path, *, home: Path, repo: str, revision: str, quantization: str, on_event: OnEvent, allow_pickle: bool = False
) -> ConvertedFile:
    """The GGUF file of a repository's snapshot, as a blob of the store; made if it is not there.

    :param repo: ``owner/name``.
    :param revision: the commit: a branch's name would stand for other bytes tomorrow.
    :raises ConfigError: see `convert`.
    :raises ConversionFailed: see `convert`.
    """
    wanted = quantizations.parse(quantization).name
    key = conversion.key(repo=repo, revision=revision, quantization=wanted)
    if found := await asyncio.to_thread(find, home, key):
        return found
    name = repo.rpartition("/")[2]
    with children.scratch_beside(manifests.blob(home, key), kind="conversion") as scratch:
        made = await convert(
            snapshot,
            out=scratch / "model.gguf",
            quantization=wanted,
            home=home,
            on_event=on_event,
            name=name,
            allow_pickle=allow_pickle,
        )
        blob = manifests.blob(home, made.sha256)
        os.replace(made.path, blob)
    published = ConvertedFile(path=blob, sha256=made.sha256, size=made.size, notes=made.notes)
    await asyncio.to_thread(_record, home, key, published)
    return published


def find(home: Path, key: str) -> ConvertedFile | None:
    """A conversion that was made before and whose bytes are still there."""
    try:
        fields = json.loads(_path(home, key).read_bytes())
        blob = manifests.blob(home, str(fields["sha256"]))
        if blob.stat().st_size != fields["size"]:
            return None
        return ConvertedFile(path=blob, sha256=fields["sha256"], size=fields["size"], notes=tuple(fields["notes"]))
    except (OSError, ValueError, KeyError, TypeError):  # no record, or one that another version wrote: it is made again
        return None


def _record(home: Path, key: str, made: ConvertedFile) -> None:
    target = _path(home, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=children.PARTIAL)
    with os.fdopen(handle, "w") as file:
        json.dump({"sha256": made.sha256, "size": made.size, "notes": made.notes, "converter": conversion.CONVERTER}, file)
    os.chmod(scratch, manifests.READABLE)
    os.replace(scratch, target)


def _path(home: Path, key: str) -> Path:
    return home / "conversions" / f"{key}.json"
