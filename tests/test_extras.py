"""Each extra of the package can be installed by itself: pip finds a set of versions that fit together."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vllama_agent.environments import layout

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import llama_wheel  # noqa: E402 - it lies in tools/

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def compiled() -> list[str]:
    """Options with which pip takes the wheel that is kept, and does not compile one only to read its metadata."""
    wheel = llama_wheel.cached_wheel("native") or llama_wheel.cached_wheel("portable")
    if wheel is None:
        pytest.skip("no compiled llama-cpp-python is kept here (tools/llama_wheel.py), and compiling one takes minutes")
    return ["--find-links", str(wheel.parent), "--only-binary", "llama-cpp-python"]


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_resolves_by_itself(extra: str) -> None:
    options = compiled() if any(requirement.startswith("llama-cpp-python") for requirement in EXTRAS[extra]) else []
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--disable-pip-version-check"]
    done = subprocess.run([*command, *options, f"{ROOT}[{extra}]"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", layout.KINDS.values(), ids=lambda kind: kind.name)
def test_the_pins_of_an_environment_fit_together(kind: layout.Kind) -> None:
    """They are no extra: their environment has nothing of ours."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-r", str(kind.requirements)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
