"""`vllama serve`: the agent itself."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from vllama_agent.commands import settings
from vllama_core.config import AgentConfig
from vllama_core.engine_build import EngineName
from vllama_core.model_form import Form

if TYPE_CHECKING:
    from vllama_agent.engines.llama_cpp.spares import Spares
    from vllama_agent.engines.suiting import Engines
    from vllama_agent.fetches import Fetch
    from vllama_agent.store.sources import Sources

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
    """Serve the store's models by the engine that suits each.

    :raises ConfigError: the settings contradict each other, or something that they name is not there.
    """
    import uvloop

    gc.disable()  # modules are no garbage: to look for some among them took a tenth of the start
    try:
        return uvloop.run(_serve(config))
    finally:
        gc.unfreeze()
        gc.enable()


async def _serve(config: AgentConfig) -> int:
    """Three things begin one after the other and go on at once: processes for an engine, the load of the models that were named, and
    the import of the server, which is half of our own start."""
    from vllama_agent.engines.llama_cpp import version
    from vllama_agent.engines.llama_cpp.spares import Spares

    spares = Spares(refill=not config.managed)
    try:
        if config.load.engine in (None, EngineName.LLAMA_CPP) and version.is_here():
            await spares.begin()
        engines = _engines(config, spares)
        if engines.prefers is not Form.GGUF:
            await spares.close()
        return await _load_and_serve(config, engines)
    finally:
        await spares.close()


def _engines(config: AgentConfig, spares: Spares) -> Engines:
    """Those of this machine.

    :raises ConfigError: the one that was asked for is not here, or none is.
    """
    from vllama_agent import logs
    from vllama_agent.engines import process, registry
    from vllama_core import engine_choice

    here = registry.builds(config.home)
    # said here in one sentence instead of by a worker that dies
    engine_choice.require(config.load.engine or engine_choice.any_of(here), here)
    logs.configure(config.log_format, config.log_level)
    process.yield_to_children()
    from vllama_agent.engines.suiting import Engines
    from vllama_agent.hardware.machine import detect

    return Engines(config, detect(), here, spares)


async def _load_and_serve(config: AgentConfig, engines: Engines) -> int:
    from vllama_agent.pool import Surroundings, make_pool
    from vllama_agent.store import Store, ahead

    store = Store(config.home, config.stores, prefers=engines.prefers)
    ahead.read_ahead(store, config.models)
    surroundings = Surroundings(accelerators=engines.accelerators, size=engines.size, prefers=engines.prefers)

    @functools.cache
    def sources() -> Sources:
        """Imported late: it has an HTTP client, which takes as long as all that a load needs."""
        from vllama_agent.store.sources import sources_of

        return sources_of(config, prefers=engines.prefers)

    async def find(ref: str, form: Form | None) -> Fetch:
        from vllama_agent.store import pull

        return await pull.find(sources(), ref, form)

    pool = make_pool(config, store=store, make_engine=engines.make, find=find, surroundings=surroundings)
    try:
        pool.pin_ahead(config.models)
        server = await asyncio.to_thread(_import_server)
        gc.freeze()  # as `server.run` does, but without collecting first, which would hold up the load
        gc.enable()
        status: int = await server.serve(
            config, store=store, make_engine=engines.make, sources=sources(), surroundings=surroundings, pool=pool
        )
    finally:
        await pool.close()
    return status


def _import_server() -> ModuleType:
    from vllama_agent import server

    return server
