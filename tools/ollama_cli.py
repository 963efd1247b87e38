"""Build the real `ollama` command line with Go, once, so that tests can hold our server to it.

The Go module's archive lacks llama.cpp's `vendor` headers, so the compiler is pointed to the same headers in llama-cpp-python's
source. Three minutes the first time; then kept in ``~/.cache/vllama-dev/ollama-cli-<version>``. Where the benchmark has built the
same version already, that one is used. Standard library only.

    python tools/ollama_cli.py      # prints the binary's path; exit status 3 and the reason if it cannot be had here
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_sdist
import llama_wheel

VERSION = "0.17.4"
MODULE = f"github.com/ollama/ollama@v{VERSION}"
CANNOT_BUILD_STATUS = 3


class CannotBuild(Exception):
    """The sentence says why there is no `ollama` here."""


def binary() -> Path:
    """Where the command lies, or will."""
    own = llama_wheel.CACHE / f"ollama-cli-{VERSION}" / "bin" / "ollama"
    peers = sorted((llama_wheel.CACHE / "peers").glob(f"ollama-{VERSION}-*/bin/ollama"))
    return own if own.is_file() or not peers else peers[0]


def ensure() -> Path:
    """The command, built if it is not there; two callers at once build it once.

    :raises CannotBuild: Go or a C++ compiler is missing, or the build failed.
    """
    if binary().is_file():
        return binary()
    for tool in ("go", "c++"):
        if shutil.which(tool) is None:
            raise CannotBuild(f"the ollama command cannot be built: there is no {tool} on the PATH")
    folder = binary().parent.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary().is_file():
            _build(folder)
    return binary()


def _build(folder: Path) -> None:
    headers = llama_sdist.llama_cpp() / "vendor"
    print(f"building the ollama {VERSION} command; this takes minutes, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        environment = os.environ | {"CPATH": str(headers), "GOBIN": str(Path(scratch) / "out" / "bin")}
        with open(folder.parent / f"{folder.name}.log", "w") as log:
            result = subprocess.run(["go", "install", MODULE], env=environment, stdout=log, stderr=log, check=False)
        if result.returncode != 0:
            raise CannotBuild(f"go install {MODULE} failed; the log is in {folder}.log")
        os.replace(Path(scratch) / "out", folder)


if __name__ == "__main__":
    try:
        print(ensure())
    except CannotBuild as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(CANNOT_BUILD_STATUS) from None
