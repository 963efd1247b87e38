"""The sha256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

READ_BYTES = 1 << 22


def sha256_of(path: Path) -> str:
    """In hexadecimal. Reads the whole file: a second for each two gigabytes.

    :raises OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()
