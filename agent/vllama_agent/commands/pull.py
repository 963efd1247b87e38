"""`vllama pull`: fetch a model, through the server that will serve it, or without one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vllama_agent.commands import client, settings
from vllama_agent.commands.bars import Bars
from vllama_agent.commands.lines import Lines
from vllama_core.errors import ConfigError, ModelNotFound
from vllama_core.model_form import Form
from vllama_core.modelref import ModelRef

if TYPE_CHECKING:
    from vllama_agent.store import Store

HOSTS = ("VLLAMA_HOST", "OLLAMA_HOST")


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `pull`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Fetch a model by a name such as qwen3:0.6b, a repository of the Hugging Face hub, ollama.com/library/NAME:TAG, "
        "s3://BUCKET/FOLDER/, oci://REGISTRY/REPOSITORY:TAG or pvc://CLAIM/FOLDER/.",
        epilog="Through the server at VLLAMA_HOST or OLLAMA_HOST, or the local one if it runs; without one, straight into VLLAMA_HOME.",
        allow_abbrev=False,
    )
    made.add_argument("model")
    made.add_argument(
        "--format", choices=("gguf", "hf"), help="gguf for llama.cpp, hf for engines that load the original files (what suits this machine)"
    )
    made.add_argument("--verify", action="store_true", help="read files that are on this machine again, and fetch damaged ones anew")
    made.add_argument(
        "--allow-pickle",
        action="store_true",
        help="convert weights that are there only as Python pickles: their tensors are loaded, programs in them are not run",
    )
    made.add_argument(
        "--if-missing", action="store_true", help="fetch nothing if a model of that name is on this machine, whatever the hub has"
    )
    made.add_argument(
        "--progress",
        choices=("bars", "json"),
        default="bars",
        help="json: for programs, a line on standard output at most every 2 seconds; fetches on this machine",
    )
    made.add_argument("--insecure", action="store_true", help="allow plain HTTP, to registries other than Ollama's and to addresses")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and show how far it is."""
    if ModelRef.parse(arguments.model).path is not None:  # a wrong name is told here, without a server
        raise ConfigError(f"{arguments.model!r} is a file, which needs no pull: vllama serve --model {arguments.model}")
    on_this_machine = arguments.verify or arguments.format is not None or arguments.allow_pickle or arguments.if_missing
    if on_this_machine or arguments.progress == "json" or not _has_server(os.environ):
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

    from vllama_agent.engines import registry
    from vllama_agent.engines.suiting import Engines
    from vllama_agent.hardware.machine import detect
    from vllama_agent.store import Store, pull
    from vllama_agent.store.events import as_fields
    from vllama_agent.store.sources import sources_of

    config = settings.read(argparse.Namespace(model=[]), os.environ)
    sources = sources_of(config, prefers=Engines(config, detect(), registry.builds(config.home)).prefers)
    with Lines() if arguments.progress == "json" else Bars() as bars:
        if arguments.if_missing and _is_here(Store(config.home, config.stores), arguments.model, arguments.format):
            bars.show({"status": f"{arguments.model} is here already"})
            return
        asyncio.run(
            pull.pull(
                sources,
                arguments.model,
                on_event=lambda event: bars.show(as_fields(event)),
                file_format=arguments.format,
                verify=arguments.verify,
                insecure=arguments.insecure,
                allow_pickle=arguments.allow_pickle,
                on_total=bars.expect,
            )
        )
        bars.show({"status": "success"})


def _is_here(store: Store, ref: str, file_format: str | None) -> bool:
    try:
        store.resolve(ref, None if file_format is None else Form(file_format))
    except ModelNotFound:
        return False
    return True
