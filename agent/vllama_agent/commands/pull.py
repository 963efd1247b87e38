"""`vllama pull`: fetch a model, through the server that will serve it, or without one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from vllama_agent.commands import client, settings
from vllama_agent.commands.bars import Bars
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelRef

HOSTS = ("VLLAMA_HOST", "OLLAMA_HOST")


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `pull`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Fetch a model by a name such as qwen3:0.6b, a repository of the Hugging Face hub, or ollama.com/library/NAME:TAG.",
        epilog="Through the server at VLLAMA_HOST or OLLAMA_HOST, or the local one if it runs; without one, straight into VLLAMA_HOME.",
        allow_abbrev=False,
    )
    made.add_argument("model")
    made.add_argument("--format", choices=("gguf", "hf"), help="hf: the original files, only into the hub's cache of this machine")
    made.add_argument("--verify", action="store_true", help="read files that are on this machine again, and fetch damaged ones anew")
    made.add_argument("--insecure", action="store_true", help="allow plain HTTP, to registries other than Ollama's and to addresses")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and show how far it is."""
    if ModelRef.parse(arguments.model).path is not None:  # a wrong name is told here, without a server
        raise ConfigError(f"{arguments.model!r} is a file, which needs no pull: vllama serve --model {arguments.model}")
    on_this_machine = arguments.verify or arguments.format is not None
    if on_this_machine or not _has_server(os.environ):
        _here(arguments)
    else:
        through(client.from_environment(), arguments.model, insecure=arguments.insecure)
    return 0


def through(server: client.Client, model: str, *, insecure: bool = False) -> None:
    """Let a server fetch a model, and show how far it is. Interrupting ends the pull there too."""
    with Bars() as bars:
        for event in server.stream("/api/pull", {"model": model, "insecure": insecure}):
            bars.show(event)


def _has_server(environment: Mapping[str, str]) -> bool:
    """One that was named must answer; the local one may run or not."""
    if any(environment.get(variable, "").strip() for variable in HOSTS):
        return True
    try:
        client.from_environment(environment).get("/api/version")
    except client.NoServer:
        return False
    return True


def _here(arguments: argparse.Namespace) -> None:
    """In this process, into the home that a server of this environment would use."""
    import asyncio

    from vllama_agent.store import pull
    from vllama_agent.store.events import as_fields
    from vllama_agent.store.sources import sources_of

    sources = sources_of(settings.read(argparse.Namespace(model=[]), os.environ))
    with Bars() as bars:
        asyncio.run(
            pull.pull(
                sources,
                arguments.model,
                on_event=lambda event: bars.show(as_fields(event)),
                file_format=arguments.format,
                verify=arguments.verify,
                insecure=arguments.insecure,
            )
        )
        bars.show({"status": "success"})
