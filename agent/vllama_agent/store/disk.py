"""What a disk says when bytes cannot be kept on it, as sentences."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vllama_core.errors import FetchFailed, NoSpace, VllamaError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def failure(error: OSError, place: Path) -> VllamaError:
    """One that stands in a download's way.

    :param place: where it was, if the error does not say.
    """
    if error.errno in FULL:
        return NoSpace(f"the disk is full at {place}: make room and pull again, what has arrived is kept")
    where = error.filename or place
    return FetchFailed(f"{where} cannot be used ({error.strerror or error}); VLLAMA_HOME and HF_HUB_CACHE name other places")


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Work on the disk, whose errors become ours; parameters as `failure`."""
    try:
        yield
    except OSError as error:
        raise failure(error, place) from error


def check_writable(folder: Path) -> None:
    """Before hours are spent on what could not be kept. The folder is made.

    :raises OSError: nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
