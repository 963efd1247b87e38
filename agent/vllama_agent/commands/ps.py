"""`vllama ps`: the models that are loaded."""

from __future__ import annotations

import argparse
from typing import Any

from vllama_agent.commands import client, output
from vllama_core import human

COLUMNS = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")
ID_DIGITS = 12


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `ps`."""
    made = argparse.ArgumentParser(prog=prog, description="List the models that are loaded.", allow_abbrev=False)
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    told = client.from_environment().get("/api/ps")
    models = told.get("models") or []
    if arguments.json:
        output.as_json(models)
    else:
        output.table(COLUMNS, [row(model) for model in models])
        for sentence in [*problems(models), *loads(told.get("loading") or [])]:
            print(sentence)
    return 0


def problems(models: list[dict[str, Any]]) -> list[str]:
    """A sentence for each model that runs elsewhere than it was to run; Ollama's servers send none."""
    return [f"{model['name']} {model['problem']}" for model in models if model.get("problem")]


def loads(loading: list[dict[str, Any]]) -> list[str]:
    """A sentence for each model that is not there yet; Ollama's servers send none."""
    return [f"{model['name']} is loading: {model['progress']}" for model in loading]


def row(model: dict[str, Any]) -> tuple[str, ...]:
    """A model's line."""
    ago = output.seconds_since(model["expires_at"])
    return (
        model["name"],
        model["digest"][:ID_DIGITS],
        human.size(model["size"]),
        processor(model["size"], model["size_vram"]),
        str(model.get("context_length", "")),
        human.relative(ago) if ago < 0 else "Stopping...",
    )


def processor(size: int, vram: int) -> str:
    """Where a model lies, in Ollama's words."""
    if vram == 0:
        return "100% CPU"
    if vram >= size:
        return "100% GPU"
    on_cpu = round((size - vram) / size * 100)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"
