"""Where the real engine says that it runs, against what was chosen for it."""

from __future__ import annotations

from pathlib import Path

import machines
import pytest

from vllama_agent.engines.base import ModelFacts
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.environments import report
from vllama_core import engine_choice
from vllama_core.config import LoadConfig
from vllama_core.engine_choice import Choice, Formats
from vllama_core.hardware import Machine


async def facts_of(file: Path, choice: Choice) -> ModelFacts:
    engine = LlamaCppEngine(files=(file,), config=LoadConfig(ctx_size=128, kv_cells=512, parallel=4), load_timeout=60, choice=choice)
    await engine.load()
    try:
        assert engine.facts is not None
        return engine.facts
    finally:
        await engine.unload()


def chosen(here: Machine, *backends: str) -> Choice:
    return engine_choice.choose(Formats(gguf=True), here, [machines.llama_cpp(*backends)], python=machines.PYTHON)


async def test_a_model_that_is_meant_for_the_cpu_runs_there(tiny_llama: Path) -> None:
    facts = await facts_of(tiny_llama, chosen(machines.machine()))
    assert facts.misplaced is None
    assert facts.memory_bytes >= facts.vram_bytes
    assert facts.memory_bytes > tiny_llama.stat().st_size


async def test_a_model_that_was_meant_for_a_gpu_says_that_it_is_not_there(tiny_llama: Path) -> None:
    """This wheel is built for the CPU alone, and is told that the machine has a card."""
    if any(device.is_gpu for device in report.llama_cpp().devices):
        pytest.skip("needs a machine without a GPU that llama.cpp finds")
    facts = await facts_of(tiny_llama, chosen(machines.with_nvidia(), "cuda"))
    assert str(facts.misplaced).startswith("runs on the CPU although NVIDIA A10 is here: llama.cpp has CUDA, but found no GPU by it")
