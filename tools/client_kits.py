"""Install clients that tests hold our server to and that would crowd our own environment: frameworks in Python, libraries in JavaScript.

Kept under ``~/.cache/vllama-dev/clients-<key>``, the key being that of the lists of packages in tests/e2e/clients and of the interpreter:
two minutes the first time, nothing afterwards. Standard library only.

    python tools/client_kits.py python     # prints the interpreter's path
    python tools/client_kits.py node       # prints the folder that holds node_modules
                                           # exit status 3 and the reason if it cannot be had here
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import llama_wheel

LISTS = Path(__file__).resolve().parents[1] / "tests" / "e2e" / "clients"
REQUIREMENTS = LISTS / "requirements.txt"
PACKAGES = LISTS / "package.json"
MINIMUM_NODE = 20
INSTALL_SECONDS = 900.0
"""A registry that is silent for so long will not answer."""
CANNOT_INSTALL_STATUS = 3


class CannotInstall(Exception):
    """The sentence says why these clients are not here."""


def python() -> Path:
    """The interpreter of the environment that has the frameworks.

    :raises CannotInstall: pip failed.
    """
    return _kept("python", REQUIREMENTS.read_bytes() + sys.version.encode(), _make_venv) / "bin" / "python"


def node() -> Path:
    """The folder that has the JavaScript libraries.

    :raises CannotInstall: there is no Node, one that is too old, or npm failed.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise CannotInstall(f"there is no {tool} on the PATH")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    if int(said.removeprefix("v").partition(".")[0]) < MINIMUM_NODE:
        raise CannotInstall(f"node {said} is older than {MINIMUM_NODE}")
    return _kept("node", PACKAGES.read_bytes(), _make_node_modules)


def _kept(kind: str, key: bytes, make: Callable[[Path], None]) -> Path:
    """The folder of a kind, made if it is not there; two callers at once make it once. It appears whole or not at all."""
    folder = llama_wheel.CACHE / f"clients-{kind}-{hashlib.sha256(key).hexdigest()[:12]}"
    done = folder / "done"
    if done.is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_file():
            print(f"installing clients ({kind}); this takes a minute or two, once", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def _make_venv(folder: Path) -> None:
    """In place: a virtual environment's scripts name the folder that they lie in."""
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-r", str(REQUIREMENTS)])


def _make_node_modules(folder: Path) -> None:
    shutil.copy(PACKAGES, folder)
    _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=folder)


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    with tempfile.TemporaryFile() as output:
        try:
            ended = subprocess.run(command, cwd=cwd, stdout=output, stderr=output, timeout=INSTALL_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            raise CannotInstall(f"{command[0]} took more than {INSTALL_SECONDS:g} s") from None
        output.seek(0)
        if ended:
            told = output.read().decode(errors="replace").strip()[-800:]
            raise CannotInstall(f"{' '.join(command[:4])} … failed: {told}")


if __name__ == "__main__":
    kinds = {"python": python, "node": node}
    if len(sys.argv) != 2 or sys.argv[1] not in kinds:
        raise SystemExit(f"usage: {os.path.basename(sys.argv[0])} {'|'.join(kinds)}")
    try:
        print(kinds[sys.argv[1]]())
    except CannotInstall as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(CANNOT_INSTALL_STATUS) from None
