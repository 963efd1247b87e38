"""The Hugging Face cache that all tools of a user share, in its own layout: blobs by checksum, and names that lead to them by commit.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What file systems without symbolic links answer."""
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository.

    :ivar checksum: sha256 of large files, git's blob hash of small ones; the blob's name in the cache.
    """

    path: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository at one commit.

    :ivar name: ``owner/name``, spelled as the hub has it.
    :ivar revision: the branch, tag or commit that was asked for.
    :ivar license: the word of its model card; empty where there is none.
    """

    name: str
    revision: str
    commit: str
    files: Mapping[str, RemoteFile]
    license: str = ""


def folder(cache: Path, name: str) -> Path:
    """A repository's folder."""
    return cache / f"models--{name.replace('/', '--')}"


def pointer(cache: Path, repository: Repository, file: RemoteFile) -> Path:
    """Where a file has its name."""
    return folder(cache, repository.name) / "snapshots" / repository.commit / file.path


def blob(cache: Path, repository: Repository, file: RemoteFile) -> Path:
    """Where a file's bytes lie."""
    return folder(cache, repository.name) / "blobs" / file.checksum


def link(cache: Path, repository: Repository, file: RemoteFile) -> Path:
    """Give a file whose bytes are here its name, as every other tool looks for it; the path."""
    named, bytes_at = pointer(cache, repository, file), blob(cache, repository, file)
    named.parent.mkdir(parents=True, exist_ok=True)
    if not named.exists():
        scratch = _scratch(named)
        try:
            scratch.symlink_to(os.path.relpath(bytes_at, named.parent))
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with suppress(FileNotFoundError):  # another pull was quicker
                os.replace(bytes_at, named)  # the file itself has its name then, and the other tools know that
        else:
            os.replace(scratch, named)
    if not COMMIT.fullmatch(repository.revision):
        _refer(folder(cache, repository.name) / "refs" / repository.revision, repository.commit)
    return named


def _refer(ref: Path, commit: str) -> None:
    if ref.is_file() and ref.read_text() == commit:
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(ref)
    scratch.write_text(commit)
    os.replace(scratch, ref)


def _scratch(path: Path) -> Path:
    """A name beside it that nobody else has: two pulls of one model end at the same time, perhaps in one process."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def held(cache: Path, name: str, revision: str) -> Repository | None:
    """What is here of a repository; None: nothing."""
    here = folder(cache, name)
    try:
        commit = revision if COMMIT.fullmatch(revision) else (here / "refs" / revision).read_text().strip()
        root = here / "snapshots" / commit
        found = [path for path in root.rglob("*") if path.is_file()]
    except OSError:
        return None
    files = [RemoteFile(str(path.relative_to(root)), path.stat().st_size, path.resolve().name) for path in found]
    return Repository(name=name, revision=revision, commit=commit, files={file.path: file for file in files}) if files else None
