"""Where mlx-lm is installed. Nothing of it is imported."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from vllama_agent.environments import layout

VARIABLE = "VLLAMA_MLX_PYTHON"
"""Names an interpreter that has mlx-lm: one with MLX's CPU build on Linux, say, by which this engine is tried without a Mac."""


def find(home: Path) -> Path | None:
    """The interpreter that the variable names, else that of `vllama engines install mlx`."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Path(named) if Path(named).is_file() else None
    environment = layout.find(home, layout.MLX)
    return environment.python if environment else None


def pinned() -> str:
    """The version of mlx-lm that the environment has."""
    return layout.MLX.requirement.rpartition("==")[2]


def why_not(home: Path) -> str:
    """A sentence on why there is none, with the way out."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return f"{VARIABLE} is {named}, which is no file; name a Python that has mlx-lm, or unset it"
    return elsewhere(sys.platform, platform.machine()) or layout.why_not(home, layout.MLX) or "its environment is broken; delete it"


def way_out() -> str:
    """What to do where it is missing."""
    return elsewhere(sys.platform, platform.machine()) or f"run: {layout.MLX.install}"


def elsewhere(system: str, machine: str) -> str | None:
    """Why this machine cannot have it; None: it can."""
    if (system, machine) == ("darwin", "arm64"):
        return None
    return f"MLX runs on Macs with Apple Silicon, and this is {system} on {machine}; llama.cpp serves GGUF files here"
