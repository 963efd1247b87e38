"""Plans for models of the Hugging Face hub: GGUF files, and original files, as they are or to be converted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from vllama_agent.store import pick, wanted
from vllama_agent.store.convert_plans import Weights
from vllama_agent.store.digests import is_digest
from vllama_agent.store.events import OnEvent
from vllama_agent.store.hub import Hub
from vllama_agent.store.hub_cache import RemoteFile, Repository
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.plans import Plan
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName


def gguf(hub: Hub, repository: Repository, choice: pick.Choice, *, name: ModelName, ref: str, license_id: str = "") -> Plan:
    """GGUF files of the hub. They stay in its cache, under their own names: the files of a split set find each other by them."""
    model = [repository.files[path] for path in choice.files]
    projector = repository.files[choice.projector] if choice.projector else None
    files = [*model, *([projector] if projector else [])]
    notes = (choice.note,) if choice.note else ()

    async def finish(_: OnEvent) -> Manifest:
        refs = [await asyncio.to_thread(_linked, hub, repository, file) for file in files]
        return Manifest(
            name=name,
            files=tuple(refs[: len(model)]),
            projector=refs[-1] if projector else None,
            source=Source(
                kind="hub", ref=ref, repo=repository.name, revision=repository.commit, quantization=choice.quantization, notes=notes
            ),
            license=_licenses(license_id, repository),
        )

    return Plan(name=name, ref=ref, downloads=tuple(hub.wanted(repository, file) for file in files), finish=finish, notes=notes)


def _licenses(known: str, repository: Repository) -> tuple[str, ...]:
    word = known or repository.license
    return (word,) if word else ()


def _linked(hub: Hub, repository: Repository, file: RemoteFile) -> FileRef:
    """A file of the cache; blocks to hash the few that git keeps itself, whose sha256 the hub does not know."""
    path = hub.link(repository, file)
    digest = file.checksum if is_digest(file.checksum) else wanted.checksum_of(path)
    return FileRef(digest=digest, size=file.size, name=file.path.rpartition("/")[2], path=str(path.absolute()))


def snapshot(hub: Hub, repository: Repository, *, name: ModelName, ref: str, license_id: str = "") -> Plan:
    """A model in the hub's own form, as it lies in the hub's cache: one folder, which engines and other tools find there.

    Pickles are left to the converter, which reads nothing but tensors from them: engines would run what is in them.

    :raises pick.NoSnapshot: it has no safetensors, or no config.json.
    """
    chosen = pick.loadable(repository.files, repo=repository.name)
    files = _snapshot_files(repository, chosen)

    async def finish(_: OnEvent) -> Manifest:
        refs = [await asyncio.to_thread(_linked, hub, repository, file) for file in files]
        return Manifest(
            name=name,
            files=tuple(refs),
            form=Form.HUGGING_FACE,
            source=Source(kind="hub", ref=ref, repo=repository.name, revision=repository.commit),
            license=_licenses(license_id, repository),
        )

    return Plan(name=name, ref=ref, downloads=tuple(hub.wanted(repository, file) for file in files), finish=finish)


def _snapshot_files(repository: Repository, chosen: pick.Snapshot) -> list[RemoteFile]:
    return [repository.files[path] for path in chosen.files]


def _linked_folder(hub: Hub, repository: Repository, files: Sequence[RemoteFile]) -> Path:
    """Where a snapshot's files have their names; they get them by this."""
    for file in files:
        hub.link(repository, file)
    return hub.folder(repository.name) / "snapshots" / repository.commit


def weights(hub: Hub, repository: Repository, *, license_id: str = "", allow_pickle: bool = False) -> Weights:
    """A repository's original weights, to be converted.

    :raises ConfigError: it has none, or only pickles, which nobody allowed.
    """
    chosen = pick.snapshot(repository.files, repo=repository.name, allow_pickle=allow_pickle)
    files = _snapshot_files(repository, chosen)

    @asynccontextmanager
    async def folder() -> AsyncIterator[Path]:
        yield await asyncio.to_thread(_linked_folder, hub, repository, files)

    return Weights(
        place=repository.name,
        revision=repository.commit,
        model=repository.name.rpartition("/")[2],
        downloads=tuple(hub.wanted(repository, file) for file in files),
        folder=folder,
        license=_licenses(license_id, repository),
        pickled=chosen.pickled,
    )
