"""Who uses a file: a shared lock on it, for as long as a model is loaded from it. The kernel drops it with the process, however that ends.

Whoever wants to remove a file asks for the lock alone, and leaves the file where that is refused. Whoever gives a file a name holds it
until the name is written, so that a removal either sees the name or comes first. Where a file system knows no locks, files count as free,
which costs no answer: a file that is open or mapped keeps its bytes after it is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class Hold:
    """Files in use, until `release`."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Take hold.

        :raises OSError: a file cannot be opened, or is being removed; nothing is held then.
        """
        self._handles: list[int] = []
        try:
            for file in files:
                self._handles.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
                _lock(self._handles[-1], fcntl.LOCK_SH)
                _check_place(self._handles[-1], file)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let go. Again is fine."""
        handles, self._handles = self._handles, []
        for handle in handles:
            os.close(handle)


@contextmanager
def alone(files: Iterable[Path]) -> Iterator[set[Path]]:
    """Those of the files that are there and that nobody holds. Until the end nobody can take hold of them.

    :raises OSError: one cannot be opened.
    """
    handles: list[int] = []
    free: set[Path] = set()
    try:
        for file in files:
            with suppress(FileNotFoundError, BlockingIOError):  # removed by somebody else meanwhile, or held
                handles.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
                _lock(handles[-1], fcntl.LOCK_EX)
                free.add(file)
        yield free
    finally:
        for handle in handles:
            os.close(handle)


def _check_place(handle: int, file: Path) -> None:
    """Between opening a file and locking it, it may have been removed, and another one put in its place.

    :raises FileNotFoundError: the name leads to it no more.
    """
    if not os.path.samestat(os.fstat(handle), file.stat()):
        raise FileNotFoundError(errno.ENOENT, "it was replaced", str(file))


def _lock(handle: int, kind: int) -> None:
    """Never waits: a shared lock is refused only while a file is being removed.

    :raises BlockingIOError: somebody else holds it.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
