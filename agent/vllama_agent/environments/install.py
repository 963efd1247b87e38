"""Make the converter's environment: a virtual environment of pinned packages, and llama.cpp's converter from its source archive.

It grows in a hidden folder beside its place and gets its name when it has run once, so nobody finds half of one; of two installers at
once the second finds the first one's and leaves it. No locks: they lie on network file systems.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vllama_agent.environments import layout
from vllama_agent.environments.layout import Environment
from vllama_agent.store import manifests
from vllama_core.errors import ConfigError

STALE_SECONDS = 86_400
"""A hidden folder that nobody has touched for a day belongs to an installer that was killed."""
CHECK_SECONDS = 300
"""Importing torch from a cold disk takes a minute at worst."""
NEEDED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/", "requirements/requirements-convert", "LICENSE")
"""What of llama.cpp's source the converter is made of; the requirements are there to be compared with our pins."""
STDERR = 2

Tell = Callable[[str], None]


def install(home: Path, *, tell: Tell) -> Environment:
    """The environment, made if it is not there. Takes minutes and gigabytes; what pip and uv print goes to standard error.

    :param tell: called with a sentence at each step.
    :raises ConfigError: a step failed; nothing is left behind.
    """
    if found := layout.find(home):
        return found
    folder = layout.place(home)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _collect_stale(folder.parent)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=manifests.SCRATCH))
    except OSError as error:
        raise ConfigError(f"{folder.parent} cannot be written: {error.strerror or error}; VLLAMA_HOME names another place") from error
    try:
        _make(scratch, tell)
        _publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in layout.others(home):
        tell(f"removing {old}, which this version does not use")
        shutil.rmtree(old, ignore_errors=True)
    return Environment(folder)


def _make(scratch: Path, tell: Tell) -> None:
    python = str(Environment(scratch).python)
    uv = shutil.which("uv")
    tell(f"making a virtual environment with {'uv' if uv else 'pip'}")
    # seeded with pip, because uv has no command that fetches a source archive
    _run([uv, "venv", "--quiet", "--seed", "--allow-existing", "--python", sys.executable, str(scratch)] if uv else
         [sys.executable, "-m", "venv", str(scratch)], step="making the virtual environment")  # fmt: skip
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    tell("installing the converter's packages; torch is large, so this takes minutes")
    _run([*([uv, "pip", "install", "--python", python] if uv else [*pip, "install"]), "-r", str(layout.REQUIREMENTS)],
         step="installing the converter's packages")  # fmt: skip
    requirement = layout.requirements(layout.SOURCE)[0].split()[0]
    tell(f"fetching the source of {requirement}")
    with tempfile.TemporaryDirectory(dir=scratch) as downloads:
        options = ["--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes", "-d", downloads]
        _run([*pip, "download", *options, "-r", str(layout.SOURCE)], step=f"fetching the source of {requirement}")
        unpack(next(Path(downloads).glob("*.tar.gz")), Environment(scratch).llama_cpp)
    tell("starting the converter once")
    script = str(Environment(scratch).llama_cpp / "convert_hf_to_gguf.py")
    _run([python, "-E", "-s", script, "--help"], step="starting the converter", quiet=True, timeout=CHECK_SECONDS)
    (scratch / layout.MARKER).write_text(json.dumps({"version": requirement}) + "\n")


def unpack(archive: Path, target: Path) -> None:
    """The converter's files from llama-cpp-python's source archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inside = member.name.partition("/vendor/llama.cpp/")
            if member.isfile() and inside.startswith(NEEDED):
                tar.extract(member.replace(name=inside, deep=False), target, filter="data")


def _run(command: Sequence[str], *, step: str, quiet: bool = False, timeout: float | None = None) -> None:
    """Run a step. pip and uv bound each wait for the network themselves, so installing has no limit in total."""
    try:
        output = subprocess.DEVNULL if quiet else STDERR
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{step} took longer than {timeout:g} s and was stopped; try again when the disk is less busy") from None
    except OSError as error:
        raise ConfigError(f"{step} failed: {error}") from None
    if done.returncode != 0:
        raise ConfigError(f"{step} failed with status {done.returncode}; the lines above say why")


def _publish(scratch: Path, folder: Path) -> None:
    """A virtual environment may be moved as long as its scripts are run as modules, which is how we run them."""
    scratch.chmod(0o755)
    (scratch / layout.MARKER).chmod(manifests.READABLE)
    os.sync()  # a power cut after the rename must not leave a name without bytes
    try:
        os.rename(scratch, folder)
    except OSError as error:
        if not (folder / layout.MARKER).is_file():  # else another installer was first
            raise ConfigError(f"{folder} cannot be made: {error.strerror or error}; remove what is there") from error


def _collect_stale(parent: Path) -> None:
    for left in parent.glob(f"{manifests.SCRATCH}*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
