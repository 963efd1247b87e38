"""Starting programs that die with their parent, and waiting for what they do."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
READY_SECONDS = 120.0
"""An API server is ready in 3 seconds; on a machine that also compiles, in 30."""
_libc = ctypes.CDLL(None)


def start(name: str, command: list[str], *, logs: Path, first: Callable[[], None] | None = None) -> int:
    """Run a program until this process ends.

    :param logs: the folder of its log.
    :param first: what it does before it becomes the program.
    :return: its process id.
    """

    def before() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if first is not None:
            first()

    with open(logs / f"{name}.log", "ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=before).pid


def wait_until(what: str, ready: Callable[[], bool]) -> None:
    """:raises SystemExit: it did not happen in `READY_SECONDS`."""
    limit = time.monotonic() + READY_SECONDS
    while True:
        try:
            if ready():
                return
        except OSError:
            pass  # nobody listens yet
        if time.monotonic() > limit:
            raise SystemExit(f"{what} was not ready in {READY_SECONDS:.0f} s")
        time.sleep(0.1)


def watch(running: dict[int, str], *, may_end: frozenset[str] = frozenset()) -> int:
    """Wait for a program that ends, and for orphans meanwhile.

    :param may_end: those whose end is no fault: a test may have ended them.
    :return: the exit status: one has ended, which none should.
    """
    while True:
        pid, status = os.wait()
        if pid in running:
            print(f"{running[pid]} ended: {os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)
            if running[pid] not in may_end:
                return 1
