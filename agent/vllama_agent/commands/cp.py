"""`vllama cp`: give a model another name."""

from __future__ import annotations

import argparse

from vllama_agent.commands import client


def parser(prog: str) -> argparse.ArgumentParser:
    """Arguments of `cp`."""
    made = argparse.ArgumentParser(
        prog=prog, description="Give a model another name. Its bytes are shared, not copied.", allow_abbrev=False
    )
    made.add_argument("source")
    made.add_argument("destination")
    return made


def run(arguments: argparse.Namespace) -> int:
    """The server does it."""
    client.from_environment().post("/api/copy", {"source": arguments.source, "destination": arguments.destination})
    print(f"copied '{arguments.source}' to '{arguments.destination}'")
    return 0
