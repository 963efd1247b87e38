"""Files that should be somewhere: whether they are, what is still missing, whether there is room, and what was given up. It blocks."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vllama_agent.store import claim, journal
from vllama_agent.store.digests import is_digest
from vllama_agent.store.origin import Origin
from vllama_agent.store.partial import HASH_BYTES, digest_for
from vllama_core import human
from vllama_core.errors import NoSpace

SPARE_BYTES = 64 << 20
"""Free bytes that a download leaves: a disk that is full to the last byte breaks everything else on it."""
STALE_SECONDS = 14 * 24 * 3600.0
"""After so long without a write a partial file is removed: whoever wanted it would have asked again."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the hub, for the hub's own downloader.

    :ivar token: empty: none.
    """

    endpoint: str
    repo: str
    commit: str
    path: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that should be somewhere.

    :ivar target: where it should be; it appears there whole.
    :ivar partials: a folder on the same file system for files on their way.
    :ivar checksum: sha256 in hexadecimal, or git's blob hash where the hub has only that.
    :ivar is_known: whether the checksum is one; else it only names the download, and nobody knows what the bytes should be.
    :ivar size: bytes.
    :ivar record: where the sha256 of what was fetched is written, if nobody tells it before; the file then lies in the folder of `target`
        under ``sha256-…``. Whoever waits for the same download finds it by this.
    :ivar hub_file: it is to be fetched by the hub's own downloader; None: by requests of ours.
    :ivar pointer: another name that the file has, or may have alone: a hub's cache on a file system without links.
    """

    target: Path
    partials: Path
    origin: Origin
    checksum: str
    size: int
    pointer: Path | None = None
    is_known: bool = True
    record: Path | None = None
    hub_file: HubFile | None = None


def is_here(wanted: Wanted) -> bool:
    """Whether the file is there with the right size. What it holds was checked before it appeared; `remove_damaged` looks again."""
    return any(_size(path) == wanted.size for path in (place(wanted), wanted.pointer) if path is not None)


def place(wanted: Wanted) -> Path | None:
    """Where the file is when it is here; None: that depends on its bytes, and nobody has seen them."""
    if wanted.record is None:
        return wanted.target
    try:
        digest = wanted.record.read_text()
    except FileNotFoundError:
        return None
    return place_of(wanted, digest) if is_digest(digest) else None


def place_of(wanted: Wanted, sha256: str) -> Path:
    """Where the file belongs, by its checksum."""
    return wanted.target if wanted.record is None else wanted.target.with_name(f"sha256-{sha256}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def remove_damaged(wanted: Wanted) -> bool:
    """Hash a file that is there, and remove it if it is not what it should be. Blocks for as long as reading it takes."""
    path = next((path for path in (place(wanted), wanted.pointer) if path is not None and path.is_file()), None)
    if path is None or not (wanted.is_known or wanted.record):
        return False
    expected = wanted.checksum if wanted.is_known else path.name.removeprefix("sha256-")
    if checksum_of(path, like=expected) == expected:
        return False
    path.resolve().unlink()
    return True


def checksum_of(path: Path, *, like: str = "") -> str:
    """A file's checksum: its sha256, or git's blob hash where `like` is one. Blocks."""
    digest = digest_for(like, path.stat().st_size)
    with open(path, "rb") as file:
        while data := file.read(HASH_BYTES):
            digest.update(data)
    return digest.hexdigest()


def still_needed(wanted: Wanted) -> int:
    """Bytes that the disk must still have room for."""
    return (
        0
        if is_here(wanted)
        else wanted.size - max((completed(work, wanted.size) for work in works(wanted.partials / wanted.checksum)), default=0)
    )


def check_room(files: list[Wanted], *, beside: tuple[Path, int] | None = None) -> None:
    """Before anything is fetched, rather than after an hour.

    :param beside: a folder, and bytes that will be needed there for something else.
    :raises NoSpace: names how much is missing, and where.
    """
    needed: dict[int, tuple[Path, int]] = {}
    missing = [(wanted.partials, still_needed(wanted)) for wanted in files if not is_here(wanted)]  # what is here may be read-only
    for folder, size in [*missing, *([beside] if beside else [])]:
        folder.mkdir(parents=True, exist_ok=True)
        device = folder.stat().st_dev
        needed[device] = (folder, needed.get(device, (folder, 0))[1] + size)
    for folder, size in needed.values():
        free = shutil.disk_usage(folder).free
        if size + SPARE_BYTES > free:
            raise NoSpace(f"{human.size(size)} are needed and {human.size(free)} are free at {folder}; make room, or name another place")


def works(folder: Path) -> list[Path]:
    return list(folder.glob("work.*"))


def completed(work: Path, size: int) -> int:
    """Bytes that a folder's journal counts."""
    return journal.Follower(work / "journal", size=size).completed()


def collect(partials: Path, *, older_than: float = STALE_SECONDS) -> list[Path]:
    """Remove partial files that nobody has written to for long, and say which. A claim that is held is touched all the time; but after a
    clock has jumped, or the machine has slept for weeks, it looks old until it is touched again.

    :param partials: a folder of files on their way.
    """
    removed = []
    for entry in partials.glob("*"):
        with suppress(FileNotFoundError):  # another pull has just finished with it
            newest = max(path.stat().st_mtime for path in (entry, *entry.rglob("*")))
            if time.time() - newest > older_than and not claim.is_at_work(entry):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                removed.append(entry)
    return removed
