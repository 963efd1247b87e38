"""Processes below one of ours, while they come and go."""

from __future__ import annotations

import contextlib

import psutil


def living(pid: int | None = None) -> dict[psutil.Process, list[str]]:
    """Command lines of the living descendants of a process, of this one unless told which; who only waits to be reaped is not among them.

    One may end while it is being looked at.
    """
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process] = process.cmdline()
    return found


def named(words: str, pid: int | None = None) -> list[psutil.Process]:
    """Those of them whose command line has the words."""
    return [process for process, command in living(pid).items() if words in " ".join(command)]
