"""llama.cpp as a kind of engine: it shares the agent's interpreter and loads GGUF files."""

from __future__ import annotations

import sys
from pathlib import Path

from vllama_agent.engines.base import Engine
from vllama_agent.engines.kinds import Kind, Order
from vllama_agent.engines.llama_cpp import version
from vllama_agent.pool import needs
from vllama_core.engine_build import Build, EngineName

WAY_OUT = f"in a checkout run: make run; elsewhere: {sys.executable} -m pip install 'vllama-serve[llama]'"


def build(_: Path) -> Build:
    """As this interpreter has it."""
    return Build(engine=EngineName.LLAMA_CPP, version=version.installed(), install=WAY_OUT, backends=version.backends())


def make(order: Order) -> Engine:
    """A worker and its text helper, not started."""
    from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine

    return LlamaCppEngine(
        files=order.artifact.files,
        config=order.settings,
        load_timeout=order.agent.load_timeout,
        choice=order.choice,
        spares=order.spares,
    )


LLAMA_CPP = Kind(name=EngineName.LLAMA_CPP, build=build, size=needs.sized, make=make)
