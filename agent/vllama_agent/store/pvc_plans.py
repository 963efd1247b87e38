"""Plans for models of a volume claim that is mounted here: nothing is fetched, and the bytes stay where they are.

A file's sha256 is computed once, since nobody tells it: `vllama verify` holds the file to it. Weights are loaded as they are by engines
for Hugging Face's form, and converted into the home for the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from vllama_agent.store import folder_picks, header, hf_files, pick
from vllama_agent.store.convert_plans import Weights, converted
from vllama_agent.store.events import OnEvent, Progress
from vllama_agent.store.folder_picks import Picked
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.plans import Plan, had_before
from vllama_core import architectures, quantization_names
from vllama_core.errors import ConfigError, FetchFailed, ModelNotFound, UnreadableModel
from vllama_core.gguf import GgufError
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName
from vllama_core.storageref import PvcRef

HASH_BYTES = 64 << 20
"""Hashed between two messages: a tenth of a second."""
MOST_FILES = 10_000
"""Below one folder: a model has some hundred."""


def plan(
    place: PvcRef,
    *,
    name: ModelName,
    home: Path,
    root: Path,
    form: Form | None = None,
    prefers: Form = Form.GGUF,
    allow_pickle: bool = False,
) -> Plan:
    """What a file or a folder of a claim leads to. It blocks to look.

    :param root: the folder that has the mounted claims, each by its name.
    :param form: in which alone it can be used; None: the preferred one is meant where it is there.
    :raises ModelNotFound: there is nothing.
    :raises ConfigError: the claim is not mounted, or what there is cannot be used.
    """
    folder, file = folder_picks.split(place)
    claim = _claim(place, root)
    base = claim / folder
    stats = _files(place, base, claim, file)
    if form is Form.HUGGING_FACE or (form is None and prefers is Form.HUGGING_FACE and file is None and hf_files.is_model(stats)):
        return _snapshot(place, base, stats, name=name, home=home)
    picked = folder_picks.files(stats, place=str(PvcRef(place.claim, folder)), file=file, allow_pickle=allow_pickle)
    revision = _revision(picked, stats)
    if picked.weights:
        weights = _weights(place, base, picked, revision=revision)
        return converted(weights, name=name, ref=str(place), quantization=quantization_names.DEFAULT, home=home)
    return _gguf(place, base, picked, name=name, home=home, revision=revision)


def _claim(place: PvcRef, root: Path) -> Path:
    claim = root / place.claim
    if not claim.is_dir():
        raise ConfigError(
            f"{place}: no volume claim {place.claim} is mounted here, at {claim}; in a Pod mount it there (VLLAMA_PVC_ROOT names another "
            "folder than its parent); outside of a cluster copy the files and give their own path: vllama serve --model ./FILE.gguf"
        )
    return claim.resolve()


def _files(place: PvcRef, base: Path, claim: Path, file: str | None) -> dict[str, os.stat_result]:
    """What lies below a folder, by relative path; where a file is named, only what lies beside it."""
    if not (base / (file or "")).exists():
        raise ModelNotFound(str(place), "the claim is mounted, and has no such file or folder")
    found: dict[str, os.stat_result] = {}
    for path in base.iterdir() if file is not None else base.rglob("*"):
        if path.is_file():
            if not path.resolve().is_relative_to(claim):
                raise ConfigError(f"{place}: {path} leads out of the claim; only what lies in it is read")
            found[str(path.relative_to(base))] = path.stat()
        if len(found) > MOST_FILES:
            raise ConfigError(f"{place} has more than {MOST_FILES:,} files, so it is no model's; name the model's own folder")
    return found


def _revision(picked: Picked, stats: Mapping[str, os.stat_result]) -> str:
    return folder_picks.revision(picked, {path: (stats[path].st_size, str(stats[path].st_mtime_ns)) for path in picked.all_files})


def _snapshot(place: PvcRef, base: Path, stats: Mapping[str, os.stat_result], *, name: ModelName, home: Path) -> Plan:
    """The folder as it is."""
    if not place.is_folder:
        raise ConfigError(f"{place} is one file, and Hugging Face's form, which vLLM loads, is a folder with config.json and safetensors")
    picked = Picked(files=pick.loadable(stats, repo=str(place)).files)
    try:
        hf_files.header([base / path for path in picked.files])  # before gigabytes are read
    except UnreadableModel as error:
        raise ConfigError(f"{place} cannot be used: {error}") from None
    revision = _revision(picked, stats)

    async def finish(on_event: OnEvent) -> Manifest:
        return Manifest(
            name=name,
            files=await _hashed_once(base, picked, on_event, name=name, home=home, revision=revision, form=Form.HUGGING_FACE),
            form=Form.HUGGING_FACE,
            source=Source(kind="pvc", ref=str(place), revision=revision),
        )

    return Plan(name=name, ref=str(place), downloads=(), finish=finish)


def _gguf(place: PvcRef, base: Path, picked: Picked, *, name: ModelName, home: Path, revision: str) -> Plan:
    try:
        found = header.read(base / picked.files[0])
    except GgufError as error:
        raise ConfigError(f"{place} cannot be used: {error}") from None
    why = architectures.refusal(found)
    if why is not None:
        raise ConfigError(f"{place} cannot be served: {why}")
    notes = (picked.note,) if picked.note else ()

    async def finish(on_event: OnEvent) -> Manifest:
        refs = await _hashed_once(base, picked, on_event, name=name, home=home, revision=revision, form=Form.GGUF)
        return Manifest(
            name=name,
            files=refs[: len(picked.files)],
            projector=refs[-1] if picked.projector else None,
            source=Source(
                kind="pvc", ref=str(place), revision=revision, quantization=picked.quantization or found.quantization, notes=notes
            ),
        )

    return Plan(name=name, ref=str(place), downloads=(), finish=finish, notes=notes)


async def _hashed_once(
    base: Path, picked: Picked, on_event: OnEvent, *, name: ModelName, home: Path, revision: str, form: Form
) -> tuple[FileRef, ...]:
    """All files, which are not read again for the same revision."""
    before = await asyncio.to_thread(had_before, home, name, revision, form)
    return before.all_files if before is not None else tuple([await _hashed(base / path, on_event) for path in picked.all_files])


async def _hashed(path: Path, on_event: OnEvent) -> FileRef:
    size = (await asyncio.to_thread(path.stat)).st_size
    bar, steps, done, digest = hashlib.sha256(str(path).encode()).hexdigest(), _hashing(path), 0, hashlib.sha256().hexdigest()
    while done < size and (step := await asyncio.to_thread(next, steps, None)) is not None:
        done, digest = step
        on_event(Progress(bar, size, min(done, size), f"reading {path.name}"))
    if done != size:
        raise FetchFailed(f"{path} was changed while it was read; pull again when nobody writes to it")
    return FileRef(digest=digest, size=size, name=path.name, path=str(path))


def _hashing(path: Path) -> Iterator[tuple[int, str]]:
    """Bytes that are hashed, and their sha256 so far."""
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while data := file.read(HASH_BYTES):
            digest.update(data)
            done += len(data)
            yield done, digest.hexdigest()


def _weights(place: PvcRef, base: Path, picked: Picked, *, revision: str) -> Weights:
    @asynccontextmanager
    async def folder() -> AsyncIterator[Path]:
        yield base

    return Weights(
        place=str(place),
        revision=revision,
        model=place.path.rstrip("/").rpartition("/")[2] or place.claim,
        downloads=(),
        folder=folder,
        pickled=picked.pickled,
    )
