"""`vllama gc`: remove files that no model needs."""

from __future__ import annotations

import argparse

from vllama_agent.commands import output, places
from vllama_agent.store import gc
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
    """Look, remove, tell."""
    found = gc.unused(places.layers().home)
    gone, stays = (found, []) if arguments.dry_run else gc.remove(found)
    if arguments.json:
        output.as_json(
            {
                name: [{"path": str(item.path), "size": item.size} for item in items]
                for name, items in (("removed", [] if arguments.dry_run else gone), ("unused", found), ("in_use", stays))
            }
        )
        return 0
    for item in gone:
        print(f"{human.size(item.size):>8}  {item.path}")
    for item in stays:
        print(f"in use    {item.path}")
    freed = human.size(sum(item.size for item in gone))
    print(f"{freed} would be freed" if arguments.dry_run else f"{freed} freed")
    return 0
