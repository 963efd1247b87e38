"""`vllama list`: the models that the server has."""

from __future__ import annotations

import argparse
from typing import Any

from vllama_agent.commands import client, output
from vllama_core import human

COLUMNS = ("NAME", "ID", "SIZE", "MODIFIED")
ID_DIGITS = 12


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `list`."""
    made = argparse.ArgumentParser(prog=prog, description="List the models that the server has.", allow_abbrev=False)
    made.add_argument("prefix", nargs="?", default="", help="only models whose name begins so")
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    models = client.from_environment().get("/api/tags").get("models") or []
    chosen = [model for model in models if model["name"].lower().startswith(arguments.prefix.lower())]
    if arguments.json:
        output.as_json(chosen)
    else:
        output.table(COLUMNS, [row(model) for model in chosen])
    return 0


def row(model: dict[str, Any]) -> tuple[str, ...]:
    """A model's line."""
    age = output.seconds_since(model["modified_at"])
    return model["name"], model["digest"][:ID_DIGITS], human.size(model["size"]), human.relative(max(0.0, age))
