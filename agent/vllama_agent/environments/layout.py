"""Where the converter's environment lies, and whether it is there.

``$VLLAMA_HOME/envs/convert/<key>`` is a virtual environment with llama.cpp's converter beside its packages. The key stands for
everything that decides what is in it, so that an upgrade of vllama never meets an environment of other pins. The file
``environment.json`` in it is written last, before the folder gets its name.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from vllama_core.errors import ConfigError

PINS = Path(__file__).with_name("pins")
REQUIREMENTS = PINS / "convert.txt"
SOURCE = PINS / "llama_cpp_source.txt"
MARKER = "environment.json"
INSTALL = "vllama engines install convert"


@dataclass(frozen=True, slots=True)
class Environment:
    """A whole environment of the converter."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def llama_cpp(self) -> Path:
        """The folder of llama.cpp's `convert_hf_to_gguf.py` and what belongs to it."""
        return self.folder / "llama.cpp"

    @property
    def version(self) -> str:
        """What it was made from, for people."""
        fields: dict[str, str] = json.loads((self.folder / MARKER).read_text())
        return fields["version"]


@functools.cache
def key() -> str:
    """Twelve hex digits for the pins, the interpreter and the machine's kind."""
    pins = (*requirements(REQUIREMENTS), *requirements(SOURCE))
    machine = (f"{sys.version_info.major}.{sys.version_info.minor}", sys.platform, platform.machine())
    return hashlib.sha256("\n".join((*pins, *machine)).encode()).hexdigest()[:12]


def requirements(file: Path) -> list[str]:
    """The lines of a requirements file, without comments."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def place(home: Path) -> Path:
    """The folder of the environment that fits this version of vllama, there or not."""
    return home / "envs" / "convert" / key()


def find(home: Path) -> Environment | None:
    """The environment, if it is there and whole."""
    return None if why_not(home) else Environment(place(home))


def why_not(home: Path) -> str | None:
    """A sentence on why there is none, with the command that makes it; None: there is one."""
    folder = place(home)
    if (folder / MARKER).is_file():
        if Environment(folder).python.is_file():
            return None
        return f"the Python below {folder} is gone; delete that folder, then run: {INSTALL}"
    if others(home):
        return f"the one below {folder.parent} is of another version of vllama or Python; run: {INSTALL}"
    return f"it is not installed; run: {INSTALL}"


def others(home: Path) -> list[Path]:
    """Whole environments with other pins."""
    folder = place(home)
    return sorted(marker.parent for marker in folder.parent.glob(f"[!.]*/{MARKER}") if marker.parent != folder)


def require(home: Path) -> Environment:
    """The environment.

    :raises ConfigError: it is missing; the sentence holds the one command that makes it.
    """
    reason = why_not(home)
    if reason:
        raise ConfigError(f"converting Hugging Face files to GGUF needs an environment of its own: {reason}")
    return Environment(place(home))
