"""Who uses a file: a shared lock on it, for as long as a model is loaded from it. The kernel drops it with the process, however that ends.

Whoever wants to remove a file asks for the lock alone, and leaves the file where that is refused. Where a file system knows no locks,
files count as free, which costs no answer: a file that is open or mapped keeps its bytes after it is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class Hold:
    """Files in use, until `release`."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Take hold.

        :raises OSError: a file cannot be opened; nothing is held then.
        """
        self._handles: list[int] = []
        try:
            for file in files:
                self._handles.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
                _lock(self._handles[-1], fcntl.LOCK_SH)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let go. Again is fine."""
        handles, self._handles = self._handles, []
        for handle in handles:
            os.close(handle)


def remove_unused(file: Path) -> bool:
    """Remove a file that nobody holds; whether it is gone.

    :raises OSError: it cannot be opened or removed.
    """
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(handle, fcntl.LOCK_EX)
        file.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> None:
    """Never waits: a shared lock is refused only while a file is being removed.

    :raises BlockingIOError: somebody else holds it.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
