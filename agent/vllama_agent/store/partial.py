"""A file on its way: its bytes, its journal, and a hash that follows the bytes in order. Blocking; for threads.

Written at several places by several threads; each tells the journal when its range has been written.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Protocol

from vllama_agent.store.journal import Journal
from vllama_agent.store.ranges import Range

HASH_BYTES = 4 << 20
"""Read at once for hashing."""
HASH_STEP = 64 << 20
"""Hashed in one call: a tenth of a second, so that nobody waits long for a thread to end."""


class Digest(Protocol):
    """Of hashlib."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


def digest_for(checksum: str, size: int) -> Digest:
    """What a hub's checksum of a file is: sha256 of large files, git's blob hash of small ones.

    :param checksum: in hexadecimal; its length tells which.
    """
    if len(checksum) == hashlib.sha1(usedforsecurity=False).digest_size * 2:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.sha256()


class Partial:
    """A partial file in a folder of its own.

    :ivar path: of the bytes.
    """

    def __init__(self, folder: Path, *, size: int, checksum: str) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "data"
        self.size = size
        self._journal = Journal(folder / "journal", size=size)
        self._ranges = self._journal.ranges
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._file).st_size < max((end for _, end in self._ranges), default=0):
            raise OSError(0, "the partial file is shorter than its journal says", str(self.path))
        self._digest = digest_for(checksum, size)
        self._hashed = 0
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()

    @property
    def completed(self) -> int:
        """Bytes that are here."""
        return self._ranges.total

    def missing(self) -> list[Range]:
        """What is still to be fetched."""
        return self._ranges.missing(self.size)

    def write(self, offset: int, data: bytes | bytearray) -> int:
        """Put bytes in their place; how many of them were not here before.

        :raises OSError: the disk is full, or broken.
        """
        view, at = memoryview(data), offset
        while view:
            count = os.pwrite(self._file, view, at)
            view, at = view[count:], at + count
        with self._lock:
            before = self._ranges.total
            self._ranges.add(offset, at)
            self._journal.wrote(offset, at)
            return self._ranges.total - before

    def sync(self) -> None:
        """Bring what is written to the disk, and note that it is there."""
        with self._sync_lock:
            with self._lock:
                count = self._journal.count
            os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
            with self._lock:
                self._journal.synced(count)

    def hash_on(self) -> tuple[int, int]:
        """Hash some of what has come in without a gap since the last time; (bytes hashed, bytes there to hash). One thread at a time."""
        with self._lock:
            there = self._ranges.prefix
        end = min(there, self._hashed + HASH_STEP)
        buffer = bytearray(min(HASH_BYTES, max(end - self._hashed, 1)))
        while self._hashed < end:
            view = memoryview(buffer)[: min(len(buffer), end - self._hashed)]
            count = os.preadv(self._file, [view], self._hashed)
            if not count:
                raise OSError(0, "the partial file is shorter than what was written to it", str(self.path))
            self._digest.update(view[:count])
            self._hashed += count
        return self._hashed, there

    def checksum(self) -> str:
        """Of the bytes that are hashed."""
        return self._digest.hexdigest()

    def make_readable(self, mode: int) -> None:
        """Set the file's mode."""
        os.fchmod(self._file, mode)

    def is_ours(self) -> bool:
        """Whether the name still leads to the file that is written here: another owner would have moved it."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Keep the file and stop writing."""
        self._journal.close()
        os.close(self._file)
