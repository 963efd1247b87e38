"""`vllama du`: how much disk each model takes."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from vllama_agent.commands import output, places
from vllama_agent.store import usage
from vllama_core import human

COLUMNS = ("NAME", "FORMAT", "SIZE", "OWN", "STORE")


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `du`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Tell how much disk each model takes. OWN is what removing it would free: bytes that no other model needs.",
        allow_abbrev=False,
    )
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Look and print; no server is needed."""
    found = usage.of(places.layers())
    if arguments.json:
        output.as_json(asdict(found))
        return 0
    rows = [(model.name, str(model.form), human.size(model.size), human.size(model.own), model.store) for model in found.models]
    output.table(COLUMNS, rows)
    print()
    print(f"{human.size(found.blobs)} in {found.home}, {human.size(found.unused)} of it unused; `vllama gc` removes that")
    if found.elsewhere:
        print(f"{human.size(found.elsewhere)} elsewhere: in the Hugging Face cache, in other programs' stores or in read-only ones")
    return 0
