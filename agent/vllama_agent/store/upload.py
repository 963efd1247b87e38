"""Bytes that a client sends, on their way to a blob: hashed as they come, and published only when the digest is the promised one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from vllama_agent.store import manifests
from vllama_core import human
from vllama_core.errors import InvalidRequest, NoSpace

RESERVE = 256 << 20
"""Bytes of the disk that uploads leave free: manifests and logs need room too."""


class Upload:
    """One blob in the making. Its calls block and belong into a thread, but for `close`, which may come while a write is still going on.

    :param size: bytes that will come, where the client said so.
    :raises NoSpace: they do not fit.
    :raises OSError: the home cannot be written.
    """

    def __init__(self, home: Path, digest: str, *, size: int | None = None) -> None:
        self._target = manifests.blob(home, digest)
        self._digest = digest
        self._hash = hashlib.sha256()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._check_room(size or 0)
        handle, self._scratch = tempfile.mkstemp(dir=self._target.parent, prefix=manifests.SCRATCH)
        self._file = os.fdopen(handle, "wb")
        self._turn = threading.Lock()

    def write(self, data: bytes) -> None:
        """The next bytes.

        :raises NoSpace: they do not fit.
        """
        self._check_room(len(data))
        with self._turn:
            self._hash.update(data)
            self._file.write(data)

    def publish(self) -> None:
        """All bytes are here.

        :raises InvalidRequest: they are not the promised ones.
        """
        with self._turn:
            found = self._hash.hexdigest()
            if found != self._digest:
                raise InvalidRequest(f'digest mismatch, expected "sha256:{self._digest}", got "sha256:{found}"', field="digest")
            self._file.flush()
            os.fsync(self._file.fileno())  # a power cut after the rename must not leave a name without bytes
            os.chmod(self._scratch, manifests.READABLE)
            os.replace(self._scratch, self._target)

    def close(self) -> None:
        """Leave nothing behind but what was published."""
        with self._turn:
            self._file.close()
            Path(self._scratch).unlink(missing_ok=True)

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._target.parent).free - RESERVE
        if size > free:
            raise NoSpace(
                f"no room for {human.size(size)} in {self._target.parent}: {human.size(max(0, free))} are free beside a reserve of "
                f"{human.size(RESERVE)}; `vllama gc` removes what no model needs, VLLAMA_HOME names another disk"
            )
