"""Plans for models of S3: GGUF files into the home's blobs, or original weights to be converted.

Where the storage knows an object's sha256, that names the download and is what must arrive. Elsewhere the object's ETag holds the parts of
one download together, and the finished file's header must fit its size; its sha256, once known, is what it is held to from then on.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from vllama_agent.store import folder_picks, holds, manifests, other_plans, remote
from vllama_agent.store.convert_plans import Weights, converted
from vllama_agent.store.events import OnEvent
from vllama_agent.store.folder_picks import Picked
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.plans import Plan, had_before
from vllama_agent.store.s3 import S3, S3Object
from vllama_agent.store.wanted import Wanted
from vllama_core import architectures, quantization_names
from vllama_core.errors import ConfigError, FetchFailed
from vllama_core.modelref import ModelName
from vllama_core.storageref import S3Ref


async def plan(http: aiohttp.ClientSession, place: S3Ref, *, name: ModelName, home: Path, allow_pickle: bool = False) -> Plan:
    """What an object or a folder leads to.

    :raises ModelNotFound: there is nothing.
    :raises ConfigError: what there is cannot be used.
    :raises FetchFailed: it cannot be looked at.
    """
    storage = await S3.holding(place.bucket)
    folder, file = folder_picks.split(place)
    objects = await _objects(storage, place, folder, file)
    folder_picks.check_names(objects, str(place))
    picked = folder_picks.files(objects, place=str(S3Ref(place.bucket, folder)), file=file, allow_pickle=allow_pickle)
    chosen = {path: await storage.object(S3Ref(place.bucket, objects[path].key)) for path in picked.all_files}
    revision = folder_picks.revision(picked, {path: (found.size, found.etag) for path, found in chosen.items()})
    if picked.weights:
        weights = _weights(storage, place, picked, chosen, revision=revision, home=home)
        return await asyncio.to_thread(converted, weights, name=name, ref=str(place), quantization=quantization_names.DEFAULT, home=home)
    looked = await remote.header(http, storage.origin(place, chosen[picked.files[0]]), size=chosen[picked.files[0]].size)
    why = architectures.refusal(looked.header)
    if why is not None:
        raise ConfigError(f"{place} cannot be served: {why}")
    quantization = picked.quantization or looked.header.quantization
    return _gguf(storage, place, picked, chosen, name=name, home=home, revision=revision, quantization=quantization)


async def _objects(storage: S3, place: S3Ref, folder: str, file: str | None) -> dict[str, S3Object]:
    """By path relative to the folder. One file is asked for alone: who may read it may perhaps not list its neighbours."""
    if file is None:
        found = await storage.below(place)
    elif split := folder_picks.SPLIT.search(file):
        found = await storage.below(S3Ref(place.bucket, folder + file[: split.start()]))
    else:
        found = [await storage.object(place)]
    return {item.key[len(folder) :]: item for item in found}


def _gguf(
    storage: S3,
    place: S3Ref,
    picked: Picked,
    chosen: dict[str, S3Object],
    *,
    name: ModelName,
    home: Path,
    revision: str,
    quantization: str | None,
) -> Plan:
    before = had_before(home, name, revision)
    known = before.all_files if before is not None else ()
    wanted = {
        path: _wanted(storage, place, found, home=home, sha256=found.sha256 or (known[number].digest if known else ""))
        for number, (path, found) in enumerate(chosen.items())
    }
    notes = (picked.note,) if picked.note else ()

    async def finish(_: OnEvent) -> Manifest:
        refs = [await asyncio.to_thread(_kept, wanted[path], path.rpartition("/")[2]) for path in picked.all_files]
        return Manifest(
            name=name,
            files=tuple(refs[: len(picked.files)]),
            projector=refs[-1] if picked.projector else None,
            source=Source(kind="s3", ref=str(place), revision=revision, quantization=quantization, notes=notes),
        )

    return Plan(name=name, ref=str(place), downloads=tuple(wanted.values()), finish=finish, notes=notes)


def _wanted(storage: S3, place: S3Ref, found: S3Object, *, home: Path, sha256: str) -> Wanted:
    origin = storage.origin(place, found)
    if not sha256:
        return other_plans.unknown(home, origin, key=_key(place, found), size=found.size)
    return Wanted(target=manifests.blob(home, sha256), partials=home / "partials", origin=origin, checksum=sha256, size=found.size)


def _key(place: S3Ref, found: S3Object) -> str:
    return hashlib.sha256(f"{S3Ref.SCHEME}{place.bucket}/{found.key} {found.etag} {found.size}".encode()).hexdigest()


def _kept(wanted: Wanted, name: str) -> FileRef:
    return FileRef(digest=wanted.checksum if wanted.is_known else other_plans.digest_of(wanted), size=wanted.size, name=name)


def _weights(storage: S3, place: S3Ref, picked: Picked, chosen: dict[str, S3Object], *, revision: str, home: Path) -> Weights:
    """Fetched beside the downloads, and removed when the GGUF file is made: no other tool looks for them there."""
    root = home / "partials" / revision
    files = [root / path for path in picked.files]

    @asynccontextmanager
    async def folder() -> AsyncIterator[Path]:
        try:
            hold = await asyncio.to_thread(holds.Hold, files)
        except FileNotFoundError as error:
            raise FetchFailed(f"{error.filename} has been used and removed by another process; pull again") from None
        try:
            yield root
        finally:
            hold.release()
        await asyncio.to_thread(_discard, files, root)

    def wanted(path: str) -> Wanted:
        found = chosen[path]
        return Wanted(
            target=root / path,
            partials=home / "partials",
            origin=storage.origin(place, found),
            checksum=found.sha256 or _key(place, found),
            size=found.size,
            is_known=bool(found.sha256),
        )

    return Weights(
        place=str(place),
        revision=revision,
        model=place.key.rstrip("/").rpartition("/")[2] or place.bucket,
        downloads=tuple(wanted(path) for path in picked.files),
        folder=folder,
        pickled=picked.pickled,
    )


def _discard(files: list[Path], root: Path) -> None:
    """Unless another process is converting the same files, or was first to remove them."""
    with holds.alone(files) as free:
        if free == set(files):
            shutil.rmtree(root)
