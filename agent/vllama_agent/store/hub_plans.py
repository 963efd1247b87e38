"""Plans for models of the Hugging Face hub: GGUF files, original files, and GGUF files that are made of those here."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

from vllama_agent.environments import layout
from vllama_agent.store import conversion, manifests, pick, wanted
from vllama_agent.store.convert import convert
from vllama_agent.store.events import OnEvent
from vllama_agent.store.hub import Hub, RemoteFile, Repository
from vllama_agent.store.manifests import FileRef, Manifest, Source
from vllama_agent.store.plans import Plan, into_blobs
from vllama_core import quantization as quantization_table
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
    digest = file.checksum if manifests.is_digest(file.checksum) else wanted.checksum_of(path)
    return FileRef(digest=digest, size=file.size, name=file.path.rpartition("/")[2], path=str(path.absolute()))


def snapshot(hub: Hub, repository: Repository, *, name: ModelName, ref: str) -> Plan:
    """A model in the hub's own format, into the hub's cache; no engine of this version serves it."""
    files = [repository.files[path] for path in pick.snapshot(repository.files, repo=repository.name)]
    downloads = tuple(hub.wanted(repository, file) for file in files)
    return Plan(name=name, ref=ref, downloads=downloads, finish=None)


def snapshot_folder(hub: Hub, repository: Repository) -> Path:
    """Where a snapshot's files have their names; they get them by this."""
    for path in pick.snapshot(repository.files, repo=repository.name):
        hub.link(repository, repository.files[path])
    return hub.folder(repository.name) / "snapshots" / repository.commit


def converted(hub: Hub, repository: Repository, *, name: ModelName, ref: str, quantization: str, home: Path, license_id: str = "") -> Plan:
    """Original weights, converted here. What was made of the same commit before is used again.

    :raises ConfigError: the converter is not installed, or does not make this quantization.
    """
    quantization_table.parse(quantization)
    layout.require(home)  # rather than after an hour of downloading
    note = f"no GGUF file is published for {repository.name}; converting its safetensors to {quantization}"
    source = Source(
        kind="converted", ref=ref, repo=repository.name, revision=repository.commit, quantization=quantization,
        notes=(note, conversion.CONVERTER),
    )  # fmt: skip
    license_words = _licenses(license_id, repository)
    made = _made_before(home, source)
    if made is not None:

        async def reuse(_: OnEvent) -> Manifest:
            return Manifest(name=name, files=made, source=source, license=license_words)

        return Plan(name=name, ref=ref, downloads=(), finish=reuse)

    async def finish(on_event: OnEvent) -> Manifest:
        folder = await asyncio.to_thread(snapshot_folder, hub, repository)
        key = hashlib.sha256(f"{repository.name}@{repository.commit}:{quantization}".encode()).hexdigest()
        out = home / "partials" / f"{key}.{os.getpid()}.gguf"
        out.parent.mkdir(parents=True, exist_ok=True)
        file = await convert(
            folder, out=out, quantization=quantization, home=home, on_event=on_event, name=repository.name.rpartition("/")[2]
        )
        await asyncio.to_thread(into_blobs, home, file.path, file.sha256)
        stem = repository.name.rpartition("/")[2]
        ref = FileRef(digest=file.sha256, size=file.size, name=f"{stem}-{quantization}.gguf")
        return Manifest(name=name, files=(ref,), source=source, license=license_words)

    downloads = snapshot(hub, repository, name=name, ref=ref).downloads
    return Plan(name=name, ref=ref, downloads=downloads, finish=finish, notes=(note,))


def _made_before(home: Path, wanted: Source) -> tuple[FileRef, ...] | None:
    """Files of another name that were converted from the same commit, by the same converter, to the same quantization."""
    for path in manifests.paths(home):
        found = manifests.read(path)
        if found is None or found.source.kind != "converted":
            continue
        same = (found.source.repo, found.source.revision, found.source.quantization) == (wanted.repo, wanted.revision, wanted.quantization)
        if same and found.source.notes[-1:] == wanted.notes[-1:] and all(manifests.located(home, file).is_file() for file in found.files):
            return found.files
    return None
