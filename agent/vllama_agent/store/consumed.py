"""A file that is read once and then nobody's: what has been read of it gives its disk back at once.

A large model's 16-bit file and what is quantized of it then never lie on the disk whole at the same time. Holes can be made on Linux, on
most of its file systems (fallocate(2)); elsewhere the file stays as it is until it is removed, which costs room and nothing else.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path
from typing import Self

from vllama_core.gguf import GgufHeader

log = logging.getLogger(__name__)

KEEP_SIZE, PUNCH_HOLE = 1, 2
"""`FALLOC_FL_…`; the second is allowed only with the first."""


class Consumed:
    """A GGUF file that is being read tensor by tensor. A context manager. It blocks, for milliseconds.

    :param header: of the file.
    :raises OSError: it cannot be opened for writing.
    """

    def __init__(self, path: Path, header: GgufHeader) -> None:
        self._path = path
        self._places = {tensor.name: (header.data_start + tensor.offset, tensor.size) for tensor in header.tensors}
        self._can = sys.platform == "linux"
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def release(self, tensor: str) -> None:
        """Nobody reads this tensor again. Other bytes than its own stay; without holes on this file system all stay."""
        offset, size = self._places[tensor]
        if not self._can or not size:
            return
        if problem := _punch(self._handle, offset, size):
            self._can = False
            log.debug("%s stays whole until it is removed: %s", self._path, os.strerror(problem))


def _punch(handle: int, offset: int, size: int) -> int:
    """Make a hole in a file; the error's number, 0 = it is made. Python's own `posix_fallocate` makes room, never holes."""
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return ctypes.get_errno() if fallocate(handle, KEEP_SIZE | PUNCH_HOLE, offset, size) else 0
