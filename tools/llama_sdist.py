"""Fetch and unpack the source archive of the pinned llama-cpp-python, once.

It holds what the wheel leaves out: llama.cpp's own sources (the benchmark's peers are built from them), dozens of real chat
templates and real vocabularies for tests. The folder is ``~/.cache/vllama-dev/sdist/llama_cpp_python-<version>``.
Standard library only, like `llama_wheel`.

    python tools/llama_sdist.py     # prints the folder
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import llama_wheel


def folder() -> Path:
    """Where the unpacked archive lies, or will."""
    return llama_wheel.CACHE / "sdist" / f"llama_cpp_python-{llama_wheel.pinned_version()}"


def ensure() -> Path:
    """The unpacked archive's folder; it appears whole or not at all, and two callers at once fetch it once."""
    target = folder()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                os.replace(_unpack(_download(Path(scratch)), Path(scratch)), target)
    return target


def llama_cpp() -> Path:
    """The folder of llama.cpp's own source."""
    return ensure() / "vendor" / "llama.cpp"


def _download(scratch: Path) -> Path:
    requirement = f"llama-cpp-python=={llama_wheel.pinned_version()}"
    print(f"fetching the source of {requirement} (76 MB), once", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "-d", str(scratch)]
    result = subprocess.run([*command, requirement], stdout=sys.stderr, check=False)
    archive = next(scratch.glob("*.tar.gz"), None)
    if result.returncode != 0 or archive is None:
        raise SystemExit(f"the source of {requirement} could not be fetched")
    return archive


def _unpack(archive: Path, scratch: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(scratch / "unpacked", filter="data")
    return next((scratch / "unpacked").iterdir())


if __name__ == "__main__":
    print(ensure())
