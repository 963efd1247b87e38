"""What of the programs that vllama runs is here: engines and the converter, where each lies, and why one is not."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.engines.llama_cpp import version
from vllama_agent.environments import layout

LOAD_SECONDS = 60.0
"""Loading libllama takes a second; a GPU backend on a cold disk may take many."""


@dataclass(frozen=True, slots=True)
class Report:
    """One program.

    :ivar version: None: it is not there.
    :ivar place: the interpreter that has it.
    :ivar problem: why it cannot be used; None: it can.
    """

    name: str
    version: str | None = None
    place: str | None = None
    problem: str | None = None


def reports(home: Path) -> list[Report]:
    """All programs that this version knows of."""
    return [llama_cpp(), convert(home), vllm()]


def llama_cpp() -> Report:
    """The engine for GGUF files. It is loaded once, in another process: a broken build shows only then."""
    found = version.installed()
    if found is None:
        way_out = f"in a checkout run: make run; elsewhere: {sys.executable} -m pip install 'vllama-serve[llama]'"
        return Report("llama.cpp", problem=f"llama-cpp-python is not installed for this Python; {way_out}")
    problem = None if found == version.PINNED else f"this version of vllama needs exactly {version.PINNED}"
    return Report("llama.cpp", found, sys.executable, problem or _load_problem("llama_cpp"))


def _load_problem(module: str) -> str | None:
    try:
        done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not load within {LOAD_SECONDS:g} s"
    last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return None if done.returncode == 0 else f"it does not load: {last}"


def convert(home: Path) -> Report:
    """The converter from Hugging Face files to GGUF."""
    problem = layout.why_not(home)
    if problem:
        return Report("convert", problem=problem)
    found = layout.Environment(layout.place(home))
    return Report("convert", found.version.rpartition("==")[2], str(found.python))


def vllm() -> Report:
    """The engine for Hugging Face files on GPUs."""
    reason = "this version of vllama does not run it yet"
    try:
        return Report("vllm", importlib.metadata.version("vllm"), sys.executable, reason)
    except importlib.metadata.PackageNotFoundError:
        return Report("vllm", problem=reason)
