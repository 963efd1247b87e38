"""Make an environment: a virtual environment of pinned packages; in the converter's, llama.cpp's converter from its source archive too.

It grows in a hidden folder beside its place and gets its name when it has run once, so nobody finds half of one; of two installers at
once the second finds the first one's and leaves it. No locks: they lie on network file systems.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vllama_agent import child_environment
from vllama_agent.engines.mlx import version as mlx
from vllama_agent.environments import layout
from vllama_agent.environments.layout import CONVERT, Environment, Kind
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


def install(home: Path, kind: Kind = CONVERT, *, tell: Tell) -> Environment:
    """The environment, made if it is not there. Takes minutes and gigabytes; what pip and uv print goes to standard error.

    :param tell: called with a sentence at each step.
    :raises ConfigError: a step failed, or it cannot be made for this machine; nothing is left behind.
    """
    if found := layout.find(home, kind):
        return found
    check_platform(kind, sys.platform, platform.machine())
    folder = layout.place(home, kind)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _collect_stale(folder.parent)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=manifests.SCRATCH))
    except OSError as error:
        raise ConfigError(f"{folder.parent} cannot be written: {error.strerror or error}; VLLAMA_HOME names another place") from error
    try:
        _make(scratch, kind, tell)
        _publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in layout.others(home, kind):
        tell(f"removing {old}, which this version does not use")
        shutil.rmtree(old, ignore_errors=True)
    return Environment(folder)


def check_platform(kind: Kind, system: str, machine: str) -> None:
    """vLLM's wheels are made for Linux, MLX's Metal library for Apple Silicon.

    :raises ConfigError: it is another system.
    """
    if kind is layout.VLLM and system != "linux":
        raise ConfigError(f"vLLM runs on Linux, and this is {system}; llama.cpp serves GGUF files here")
    if kind is layout.MLX and (why := mlx.elsewhere(system, machine)):
        raise ConfigError(why)


def _make(scratch: Path, kind: Kind, tell: Tell) -> None:
    python = str(Environment(scratch).python)
    uv = shutil.which("uv")
    tell(f"making a virtual environment with {'uv' if uv else 'pip'}")
    # seeded with pip, because uv has no command that fetches a source archive
    _run([uv, "venv", "--quiet", "--seed", "--allow-existing", "--python", sys.executable, str(scratch)] if uv else
         [sys.executable, "-m", "venv", str(scratch)], step="making the virtual environment")  # fmt: skip
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    count = len(layout.requirements(kind.requirements))
    tell(f"installing {count} packages for {kind.name}{'' if kind is layout.MLX else '; torch is large, so this takes minutes'}")
    _run([*([uv, "pip", "install", "--python", python] if uv else [*pip, "install"]), "-r", str(kind.requirements)],
         step=f"installing the packages for {kind.name}")  # fmt: skip
    if kind.unneeded:
        _run([*pip, "uninstall", "--quiet", "--yes", *kind.unneeded], step="removing what only GPUs need")
    if kind.source is not None:
        _fetch_source(scratch, kind, pip, tell)
    tell(f"starting {kind.name} once")
    module = {layout.VLLM: "vllm", layout.MLX: "mlx_lm"}.get(kind)
    script = ["-c", f"import {module}"] if module else [str(Environment(scratch).llama_cpp / "convert_hf_to_gguf.py"), "--help"]
    _run([python, "-E", "-s", *script], step=f"starting {kind.name}", quiet=True, timeout=CHECK_SECONDS)
    (scratch / layout.MARKER).write_text(json.dumps({"version": kind.requirement}) + "\n")


def _fetch_source(scratch: Path, kind: Kind, pip: Sequence[str], tell: Tell) -> None:
    tell(f"fetching the source of {kind.requirement}")
    with tempfile.TemporaryDirectory(dir=scratch) as downloads:
        options = ["--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes", "-d", downloads]
        _run([*pip, "download", *options, "-r", str(kind.source)], step=f"fetching the source of {kind.requirement}")
        unpack(next(Path(downloads).glob("*.tar.gz")), Environment(scratch).llama_cpp)


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
        environment = child_environment.without_secrets(os.environ)
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, timeout=timeout, check=False)
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
