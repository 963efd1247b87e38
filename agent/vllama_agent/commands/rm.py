"""`vllama rm`: remove models."""

from __future__ import annotations

import argparse

from vllama_agent.commands import client


def parser(prog: str) -> argparse.ArgumentParser:
    """Arguments of `rm`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Remove models, and the bytes that no other model needs. Files in the shared Hugging Face cache stay there.",
        allow_abbrev=False,
    )
    made.add_argument("models", nargs="+", metavar="MODEL")
    return made


def run(arguments: argparse.Namespace) -> int:
    """One after the other, until one cannot be removed."""
    server = client.from_environment()
    for model in arguments.models:
        server.delete("/api/delete", {"model": model})
        print(f"deleted '{model}'")
    return 0
