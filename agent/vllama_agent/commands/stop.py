"""`vllama stop`: unload a model."""

from __future__ import annotations

import argparse

from vllama_agent.commands import client


def parser(prog: str) -> argparse.ArgumentParser:
    """Arguments of `stop`."""
    made = argparse.ArgumentParser(prog=prog, description="Unload a model when its running answers are finished.", allow_abbrev=False)
    made.add_argument("model")
    return made


def run(arguments: argparse.Namespace) -> int:
    """An empty prompt with keep_alive 0 unloads."""
    client.from_environment().post("/api/generate", {"model": arguments.model, "keep_alive": 0, "stream": False})
    return 0
