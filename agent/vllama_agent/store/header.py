"""Read the GGUF header of a file on disk: only as much of the file as the header takes, and nothing of it stays in memory."""

from __future__ import annotations

from pathlib import Path

from vllama_core import gguf
from vllama_core.gguf import GgufError, GgufHeader, GgufTruncated

FIRST_READ = 1 << 20
"""Bytes. Enough for most headers; large vocabularies need a few more rounds of twice as much."""


def read(path: Path) -> GgufHeader:
    """The header of a GGUF file.

    Reads, never maps: a file that shrinks under a map would kill the process.

    :raises GgufError: it is no GGUF file, or not a whole one.
    :raises OSError: it cannot be read.
    """
    total = path.stat().st_size
    size = FIRST_READ
    while True:
        try:
            return _whole(gguf.parse(_range(path, 0, size), total=total, source=lambda at, count: _range(path, at, count)), total)
        except GgufTruncated as error:
            if size >= total:
                raise
            size = max(size * 2, error.needed)


def _whole(header: GgufHeader, total: int) -> GgufHeader:
    if header.data_end > total:
        raise GgufError(f"the file is cut off: it has {total} bytes and its tensors need {header.data_end}; fetch it again")
    return header


def _range(path: Path, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)
