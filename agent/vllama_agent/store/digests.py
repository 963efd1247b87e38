"""The sha256 of files, in hexadecimal."""

from __future__ import annotations

import hashlib
from pathlib import Path

SHA256_DIGITS = 64


def sha256_of(path: Path) -> str:
    """Reads the whole file: a second for each two gigabytes.

    :raises OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_digest(digits: str) -> bool:
    """Whether this is a sha256 in lower-case hexadecimal."""
    return len(digits) == SHA256_DIGITS and set(digits) <= set("0123456789abcdef")
