"""What files say, while they may change: read again when one does, and an unlucky rewrite changes nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from vllama_core.errors import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")
Stamp = tuple[tuple[int, int, int, int], ...]


class Watched(Generic[T]):
    """The value of some files. A change is seen by identity, times or size whenever the value is asked for.

    :param paths: files that are read together.
    :param read: makes the value.
    :raises ConfigError: from `read`, the first time; later ones are told in the log, once, and the old value stays.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._complaint = ""
        self._stamp = self._stamped()
        self._value = read()

    def __repr__(self) -> str:
        """Without the value, which may be a secret."""
        return f"Watched({', '.join(str(path) for path in self._paths)})"

    @property
    def value(self) -> T:
        """The newest that could be read."""
        stamp = self._stamped()
        if stamp is not None and stamp != self._stamp:
            self.reread()
        elif stamp is None:
            self._complain(f"{' or '.join(str(path) for path in self._paths)} is gone")
        return self._value

    def reread(self) -> bool:
        """Read, whether something changed or not; whether that went well."""
        stamp = self._stamped()
        try:
            self._value = self._read()
        except ConfigError as error:
            self._complain(str(error))
            return False
        finally:
            self._stamp = stamp
        self._complaint = ""
        return True

    def _stamped(self) -> Stamp | None:
        """Taken before the files are read, so that a change in between is read once more; None: one of them is not there."""
        try:
            stats = [os.stat(path) for path in self._paths]
        except OSError:
            return None
        # the time of its rights, too: a file may become readable
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for stat in stats)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            log.warning("%s; what was read before stays valid", why)
