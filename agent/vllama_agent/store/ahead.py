"""The files of a model that will be loaded are read while the agent itself is still starting: the disk is busy half a second earlier."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from vllama_agent.store.store import Store
from vllama_core.errors import VllamaError

MOST = 2 << 30
"""Bytes. A fast disk reads as much until the engine reads on by itself."""
AT_ONCE = 8 << 20
"""Bytes that the system is asked for in one call."""


def read_ahead(store: Store, refs: Sequence[str]) -> threading.Thread:
    """Have the system read what these references name into its cache, in a thread that ends by itself. What cannot be found is left to
    those who load it: they fetch it, or say why not."""
    files: list[Path] = []
    for ref in refs:
        with contextlib.suppress(VllamaError):
            files += store.resolve(ref).files
    thread = threading.Thread(target=advise, args=(files,), name="read ahead", daemon=True)
    thread.start()
    return thread


def advise(files: Iterable[Path], *, most: int = MOST) -> int:
    """Ask the system to read the files' beginnings; bytes that it was asked for. Only Linux can be asked so."""
    left = most
    if sys.platform == "linux":
        for file in files:
            with contextlib.suppress(OSError), open(file, "rb") as opened:
                size = min(os.fstat(opened.fileno()).st_size, left)
                for begin in range(0, size, AT_ONCE):
                    os.posix_fadvise(opened.fileno(), begin, min(AT_ONCE, size - begin), os.POSIX_FADV_WILLNEED)
                left -= size
    return most - left
