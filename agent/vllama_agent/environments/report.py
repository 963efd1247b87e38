"""What of the programs that vllama runs is here: engines and the converter, where each lies, and why one is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.engines.llama_cpp import kind, version
from vllama_agent.engines.mlx import version as mlx_version
from vllama_agent.engines.vllm import version as vllm_version
from vllama_agent.environments import layout
from vllama_agent.hardware.looking import Failed, ask
from vllama_core import placement

LOAD_SECONDS = 60.0
"""Loading libllama takes a second; a GPU backend on a cold disk may take many."""


@dataclass(frozen=True, slots=True)
class Report:
    """One program.

    :ivar version: None: it is not there.
    :ivar place: the interpreter that has it.
    :ivar problem: why it cannot be used; None: it can.
    :ivar devices: of llama.cpp, what it can run on.
    """

    name: str
    version: str | None = None
    place: str | None = None
    problem: str | None = None
    devices: tuple[placement.Device, ...] = ()


def reports(home: Path) -> list[Report]:
    """All programs that this version knows of."""
    return [llama_cpp(), convert(home), vllm(home), mlx(home)]


def llama_cpp() -> Report:
    """The engine for GGUF files. It is loaded once, in another process: a broken build shows only then, and so do its devices."""
    found = version.installed()
    if found is None:
        return Report("llama.cpp", problem=f"llama-cpp-python is not installed for this Python; {kind.WAY_OUT}")
    if found != version.PINNED:
        return Report("llama.cpp", found, sys.executable, f"this version of vllama needs exactly {version.PINNED}")
    try:
        fields = ask("vllama_agent.engines.llama_cpp.devices", seconds=LOAD_SECONDS)
    except Failed as failed:
        return Report("llama.cpp", found, sys.executable, f"it does not load: {failed}")
    return Report("llama.cpp", found, sys.executable, devices=placement.devices_from(fields["devices"]))


def convert(home: Path) -> Report:
    """The converter from Hugging Face files to GGUF."""
    problem = layout.why_not(home)
    if problem:
        return Report("convert", problem=problem)
    found = layout.Environment(layout.place(home))
    return Report("convert", found.version.rpartition("==")[2], str(found.python))


def vllm(home: Path) -> Report:
    """The engine for Hugging Face files on GPUs."""
    found = vllm_version.find(home)
    if found is None:
        return Report("vllm", problem=vllm_version.why_not(home))
    return Report("vllm", found.version, str(found.python))


def mlx(home: Path) -> Report:
    """The engine for Hugging Face files on Apple Silicon, for those who ask for it."""
    found = mlx_version.find(home)
    return Report("mlx", problem=mlx_version.why_not(home)) if found is None else Report("mlx", mlx_version.pinned(), str(found))
