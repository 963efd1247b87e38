"""Where the environments lie, and whether they are there.

``$VLLAMA_HOME/envs/<kind>/<key>`` is a virtual environment of pinned packages. The key stands for everything that decides what is in it,
so that an upgrade of vllama never meets an environment of other pins. The file ``environment.json`` in it is written last, before the
folder gets its name.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of environment.

    :ivar requirements: its pinned packages.
    :ivar source: the requirements file of a source archive of which files are needed too.
    :ivar named: the requirement that its version is told by: the first line of this file.
    :ivar unneeded: packages that its own ask for and that it starts and works without: they are removed again.
    :ivar lacking: what cannot be done without it: a sentence's begin.
    """

    name: str
    requirements: Path
    source: Path | None = None
    named: Path
    unneeded: tuple[str, ...] = ()
    lacking: str

    @property
    def install(self) -> str:
        """The one command that makes it."""
        return f"vllama engines install {self.name}"

    @property
    def requirement(self) -> str:
        """Such as ``vllm==0.32.0``."""
        return requirements(self.named)[0].split()[0]


CONVERT = Kind(
    name="convert",
    requirements=REQUIREMENTS,
    source=SOURCE,
    named=SOURCE,
    # PyPI's torch asks for them on x86-64 Linux and loads them for work on a GPU only: 1.1 GB. It does not start without the others.
    unneeded=("triton", "nvidia-cusolver", "nvidia-cuda-nvrtc", "cuda-bindings"),
    lacking="converting Hugging Face files to GGUF needs an environment of its own",
)
VLLM = Kind(name="vllm", requirements=PINS / "vllm.txt", named=PINS / "vllm.txt", lacking="vLLM needs an environment of its own")
MLX = Kind(name="mlx", requirements=PINS / "mlx.txt", named=PINS / "mlx.txt", lacking="MLX needs an environment of its own")
KINDS = {kind.name: kind for kind in (CONVERT, VLLM, MLX)}


@dataclass(frozen=True, slots=True)
class Environment:
    """A whole environment."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def llama_cpp(self) -> Path:
        """In the converter's: the folder of llama.cpp's `convert_hf_to_gguf.py` and what belongs to it."""
        return self.folder / "llama.cpp"

    @property
    def version(self) -> str:
        """What it was made from, for people."""
        fields: dict[str, str] = json.loads((self.folder / MARKER).read_text())
        return fields["version"]


@functools.cache
def key(kind: Kind = CONVERT) -> str:
    """Twelve hex digits for the pins, the interpreter and the machine's kind."""
    pins = (*requirements(kind.requirements), *(requirements(kind.source) if kind.source else ()))
    machine = (f"{sys.version_info.major}.{sys.version_info.minor}", sys.platform, platform.machine())
    return hashlib.sha256("\n".join((*pins, *machine)).encode()).hexdigest()[:12]


def requirements(file: Path) -> list[str]:
    """The lines of a requirements file, without comments."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def place(home: Path, kind: Kind = CONVERT) -> Path:
    """The folder of the environment that fits this version of vllama, there or not."""
    return home / "envs" / kind.name / key(kind)


def find(home: Path, kind: Kind = CONVERT) -> Environment | None:
    """The environment, if it is there and whole."""
    return None if why_not(home, kind) else Environment(place(home, kind))


def why_not(home: Path, kind: Kind = CONVERT) -> str | None:
    """A sentence on why there is none, with the command that makes it; None: there is one."""
    folder = place(home, kind)
    if (folder / MARKER).is_file():
        if Environment(folder).python.is_file():
            return None
        return f"the Python below {folder} is gone; delete that folder, then run: {kind.install}"
    if others(home, kind):
        return f"the one below {folder.parent} is of another version of vllama or Python; run: {kind.install}"
    return f"it is not installed; run: {kind.install}"


def others(home: Path, kind: Kind = CONVERT) -> list[Path]:
    """Whole environments with other pins."""
    folder = place(home, kind)
    return sorted(marker.parent for marker in folder.parent.glob(f"[!.]*/{MARKER}") if marker.parent != folder)


class NotInstalled(ConfigError):
    """An environment is missing."""


def require(home: Path, kind: Kind = CONVERT) -> Environment:
    """The environment.

    :raises NotInstalled: it is missing; the sentence holds the one command that makes it.
    """
    reason = why_not(home, kind)
    if reason:
        raise NotInstalled(f"{kind.lacking}: {reason}")
    return Environment(place(home, kind))
