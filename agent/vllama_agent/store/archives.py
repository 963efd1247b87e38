"""GGUF files out of tar archives, as KitOps and ModelPack publish them: into the home's blobs, read once, hashed on the way.

Members are files of strangers: only regular ones that are called like GGUF files are taken, and none under the name that it has there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vllama_agent.store import disk, folder_picks, header, manifests
from vllama_agent.store.manifest import FileRef, Manifest
from vllama_agent.store.plans import into_blobs
from vllama_agent.store.waiting import to_the_end
from vllama_agent.store.wanted import SPARE_BYTES
from vllama_core import architectures, human
from vllama_core.errors import ConfigError, FetchFailed, NoSpace
from vllama_core.gguf import GgufError

READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A model that was in archives."""

    files: tuple[FileRef, ...]
    projector: FileRef | None


def are_here(home: Path, manifest: Manifest) -> bool:
    """Whether all files of a manifest lie where they should."""
    return all(manifests.located(home, file).is_file() for file in manifest.all_files)


async def unpack(paths: Sequence[Path], *, home: Path, shown: str) -> Unpacked:
    """The one model of these archives.

    :param shown: what errors call their source.
    :raises ConfigError: they hold no model, or more than one, or one that cannot be served.
    :raises FetchFailed: one cannot be read.
    :raises NoSpace: there is no room for what they hold.
    """
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_unpack, paths, home, shown, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await to_the_end(asyncio.gather(work, return_exceptions=True))
        raise


def _unpack(paths: Sequence[Path], home: Path, shown: str, stop: threading.Event) -> Unpacked:
    with _scratch(home) as scratch:
        found = [file for path in paths for file in _members(path, scratch, shown, stop)]
        models = [file for file in found if not file.is_projector]
        projectors = [file for file in found if file.is_projector]
        if len({folder_picks.SPLIT.sub("", file.ref.name or "") for file in models}) != 1:
            held = ", ".join(file.ref.name or "" for file in models) or "no GGUF file"
            raise ConfigError(f"{shown} must hold one model, and its archives hold {held}")
        if folder_picks.missing_parts([file.ref.name or "" for file in models]):
            raise ConfigError(f"{shown} lacks a part of its split set; it has {', '.join(file.ref.name or '' for file in models)}")
        models.sort(key=lambda file: file.ref.name or "")
        _check(models[0].path, shown)
        kept = [*models, *projectors[:1]]
        for file in kept:
            into_blobs(home, file.path, file.ref.digest)
        return Unpacked(tuple(file.ref for file in models), projectors[0].ref if projectors else None)


@dataclass(frozen=True, slots=True)
class _Member:
    path: Path
    ref: FileRef

    @property
    def is_projector(self) -> bool:
        return "mmproj" in (self.ref.name or "").lower()


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    blobs = home / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=blobs, prefix=f"{manifests.SCRATCH}unpack-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _members(path: Path, scratch: Path, shown: str, stop: threading.Event) -> Iterator[_Member]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                source = archive.extractfile(member) if member.isreg() and name.lower().endswith(".gguf") else None
                if source is None:
                    continue
                free = shutil.disk_usage(scratch).free
                if member.size + SPARE_BYTES > free:
                    raise NoSpace(f"unpacking {name} needs {human.size(member.size)} and {human.size(free)} are free at {scratch.parent}")
                yield _copied(source, scratch, name, stop)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in disk.FULL:
            raise NoSpace(f"the disk became full while {shown} was unpacked; make room and pull again") from None
        raise FetchFailed(f"an archive of {shown} cannot be unpacked: {error}") from None


def _copied(source: IO[bytes], scratch: Path, name: str, stop: threading.Event) -> _Member:
    digest, size = hashlib.sha256(), 0
    handle, path = tempfile.mkstemp(dir=scratch)
    with os.fdopen(handle, "wb") as target:
        while data := source.read(READ_BYTES):
            if stop.is_set():
                raise FetchFailed("unpacking was stopped")
            target.write(data)
            digest.update(data)
            size += len(data)
        target.flush()
        os.fsync(target.fileno())
    return _Member(Path(path), FileRef(digest=digest.hexdigest(), size=size, name=name))


def _check(path: Path, shown: str) -> None:
    try:
        why = architectures.refusal(header.read(path))
    except GgufError as error:
        raise ConfigError(f"{shown} cannot be used: {error}") from None
    if why is not None:
        raise ConfigError(f"{shown} cannot be served: {why}")
