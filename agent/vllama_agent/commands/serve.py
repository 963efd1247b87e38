"""`vllama serve`: the agent itself."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from dataclasses import replace
from typing import Any

from vllama_agent.commands import settings
from vllama_core.config import AgentConfig, LlamaCppConfig
from vllama_core.errors import ConfigError

EPILOG = "Environment variables do the same: VLLAMA_HOST, VLLAMA_KEEP_ALIVE … or Ollama's own; docs/configuration.md has them all."


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `serve`."""
    made = argparse.ArgumentParser(
        prog=prog, description="Serve models behind the Ollama and OpenAI APIs.", epilog=EPILOG, allow_abbrev=False
    )
    settings.add_flags(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; the exit status."""
    config = settings.read(arguments, os.environ)
    for variable in settings.ignored(os.environ):
        print(f"vllama: {variable} is set, but changes nothing in this version", file=sys.stderr)
    return serve(config)


def serve(config: AgentConfig) -> int:
    """Serve the store's models by llama.cpp.

    :raises ConfigError: the settings contradict each other, or something that they name is not there.
    """
    _require_engine()
    from vllama_agent import server
    from vllama_agent.engines.base import Engine
    from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
    from vllama_agent.store import Artifact, Store
    from vllama_agent.store.sources import sources_of

    def make_engine(artifact: Artifact) -> Engine:
        return LlamaCppEngine(files=artifact.files, config=_for(artifact, config.llama_cpp), load_timeout=config.load_timeout)

    return server.run(config, store=Store(config.home, config.stores), make_engine=make_engine, sources=sources_of(config))


def _for(artifact: Any, config: LlamaCppConfig) -> LlamaCppConfig:
    """The settings that a model is loaded with: its own num_ctx counts where --ctx-size was not said, as far as it was trained for it."""
    asked = artifact.parameters.get("num_ctx")
    if not asked or config.ctx_size is not None:
        return config
    return replace(config, ctx_size=min(asked, artifact.brief.context_length or asked))


def _require_engine() -> None:
    """Said here in one sentence instead of by a worker that dies."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise ConfigError(
            "the llama.cpp engine is not installed for this Python; in a checkout run: make run; "
            f"elsewhere: {sys.executable} -m pip install 'vllama-serve[llama]'"
        )
