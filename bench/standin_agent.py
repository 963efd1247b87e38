"""Our whole agent over the stand-in worker: `python -m bench.standin_agent PORT`. Only the process behind the wire is another one."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from bench import places, served
from vllama_agent import server
from vllama_agent.engines.base import Engine
from vllama_agent.engines.llama_cpp import engine as engine_module
from vllama_agent.engines.llama_cpp import spares
from vllama_agent.engines.process import Child
from vllama_agent.testing import FakeStore
from vllama_core.config import AgentConfig, LoadConfig

NAME = "stand-in:latest"


class StandInChild(Child):
    """Starts the stand-in where the real worker would be; the text helper is the real one."""

    @classmethod
    async def start(cls, link: asyncio.Protocol, *command: str, **options: Any) -> Child:
        if command[-1].endswith(".worker"):
            return await super().start(link, sys.executable, str(places.ROOT / "bench" / "standin_worker.py"), **options)
        return await super().start(link, *command, **options)


def make_engine(_artifact: Any, _settings: LoadConfig) -> Engine:
    return engine_module.LlamaCppEngine(files=(places.gguf(),), config=served.DEFAULTS, load_timeout=60)


def main(port: int) -> int:
    spares.Child = StandInChild  # type: ignore[misc]
    config = AgentConfig(port=port, models=(NAME,), log_level="warning")
    return server.run(config, store=FakeStore(NAME), make_engine=make_engine)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
