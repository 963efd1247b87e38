"""Runs llama.cpp's converter inside the converter's environment, as the agent's child.

Started by path, with that environment's Python and nothing of ours: ``python -I convert_runner.py SETTINGS FD``. SETTINGS is JSON: script,
arguments, memory (bytes), log (a file for what is printed). FD is a socket; on it go lines of JSON: ``{"t": "progress", "total",
"completed"}`` in bytes, and at the end ``{"t": "done"}`` or ``{"t": "failed", "kind", "message", "log"}``.
"""

import collections
import contextlib
import importlib
import json
import logging
import os
import resource
import runpy
import socket
import sys
import time
from pathlib import Path
from typing import Any

PROGRESS_SECONDS = 0.2
KEPT_LINES = 20
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OMP_NUM_THREADS")
"""Variables that this process keeps. Tokens and keys of the agent are none of its business: it reads strangers' files."""

lines: "collections.deque[str]" = collections.deque(maxlen=KEPT_LINES)
"""The converter's last warnings and errors."""


class Link:
    """Lines of JSON to the agent."""

    def __init__(self, fd: int) -> None:
        self._file = socket.socket(fileno=fd).makefile("w", encoding="utf-8")

    def send(self, **message: Any) -> None:
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()


class Keep(logging.Handler):
    """Keeps what may explain a failure. Its presence stops the converter from logging to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and record.getMessage().strip():
            lines.append(record.getMessage().strip())


def report_bars(link: Link) -> None:
    """Send the converter's progress bar for writing instead of drawing it."""
    tqdm: Any = importlib.import_module("tqdm")

    class Bar(tqdm.tqdm):  # type: ignore[misc]
        sent = 0.0

        def __init__(self, *positional: Any, **named: Any) -> None:
            super().__init__(*positional, **{**named, "disable": True})
            self._total = named.get("total") if named.get("desc") == "Writing" else None
            self._done = 0

        def update(self, n: "float | None" = 1) -> None:
            self._done += int(n or 0)
            now = time.monotonic()
            if self._total and (now - self.sent > PROGRESS_SECONDS or self._done == self._total):
                self.sent = now
                link.send(t="progress", total=self._total, completed=self._done)

    tqdm.tqdm = Bar


def prepare(settings: "dict[str, Any]") -> None:
    """Output into a file, no core dump, bounded memory, no network."""
    with open(settings["log"], "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere it bounds only a heap that nobody uses
        # private memory only: RLIMIT_AS would count libraries and mapped files, which torch has gigabytes of
        resource.setrlimit(resource.RLIMIT_DATA, (settings["memory"], settings["memory"]))
    for name in set(os.environ) - set(KEPT):
        del os.environ[name]
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    logging.root.addHandler(Keep())
    logging.root.setLevel(logging.INFO)


def main() -> int:
    settings = json.loads(sys.argv[1])
    link = Link(int(sys.argv[2]))
    prepare(settings)
    sys.path.insert(0, str(Path(settings["script"]).parent))
    sys.argv = [settings["script"], *settings["arguments"]]
    try:
        report_bars(link)
        runpy.run_path(settings["script"], run_name="__main__")
    except BaseException as error:  # SystemExit and MemoryError, too: whatever ends the converter is told
        with contextlib.suppress(OSError):
            link.send(t="failed", kind=type(error).__name__, message=str(error), log=list(lines))
        return 1
    link.send(t="done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
