"""From a reference to files that must be fetched, and from fetched files to a manifest.

A plan is made by asking, and costs little; carrying it out costs the download. `hub_plans` and `other_plans` make them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.store import manifests
from vllama_agent.store.events import OnEvent
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.wanted import Wanted
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName

Finish = Callable[[OnEvent], Awaitable[Manifest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reference leads to.

    :ivar ref: as it was typed.
    :ivar notes: sentences for whoever asked: another quantization than wanted, for instance.
    :ivar room: a folder, and bytes that will be needed there at least, beside the downloads.
    :ivar finish: makes the manifest when everything is here.
    """

    name: ModelName
    ref: str
    downloads: tuple[Wanted, ...]
    finish: Finish
    notes: tuple[str, ...] = ()
    room: tuple[Path, int] | None = None


def had_before(home: Path, name: ModelName, revision: str | None, form: Form = Form.GGUF) -> Manifest | None:
    """What a name means already in a form, if it was made of the same revision. It blocks."""
    path = manifests.path_of(home, name, form)
    found = manifests.read(path) if path.exists() else None
    return found if found is not None and found.source.revision == revision else None


def into_blobs(home: Path, file: Path, digest: str) -> None:
    """Move a file to where its sha256 says. It blocks."""
    target = manifests.blob(home, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.chmod(file, manifests.READABLE)
    os.replace(file, target)
