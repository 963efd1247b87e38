"""`vllama gc`: remove files that no model needs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from vllama_agent.commands import output, places
from vllama_agent.store import garbage
from vllama_agent.store.garbage import Garbage
from vllama_core import human


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `gc`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Remove files of the store that no model needs: uploads without a model, files of models that were made anew, "
        "what a crash left behind. What is loaded, and what is younger than an hour, stays.",
        allow_abbrev=False,
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="only tell what would be removed")
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Look, remove, tell; no server is needed."""
    home = places.layers().home
    gone, stays = (garbage.unused(home), []) if arguments.dry_run else garbage.collect(home)
    if arguments.json:
        output.as_json({"unused" if arguments.dry_run else "removed": _listed(gone), "in_use": _listed(stays)})
        return 0
    for item in gone:
        print(f"{human.size(item.size):>8}  {item.path}")
    for item in stays:
        print(f"  in use  {item.path}")
    print(f"{human.size(sum(item.size for item in gone))} {'would be freed' if arguments.dry_run else 'freed'}")
    return 0


def _listed(items: Iterable[Garbage]) -> list[dict[str, Any]]:
    return [{"path": str(item.path), "size": item.size} for item in items]
