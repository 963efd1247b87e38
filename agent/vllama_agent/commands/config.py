"""`vllama config check`: says what is wrong in a `vllama.yaml`, without serving it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vllama_agent import serve_file


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `config`."""
    made = argparse.ArgumentParser(prog=prog, description="Look after vllama.yaml.", allow_abbrev=False)
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="read a file and say what is wrong in it", allow_abbrev=False)
    check.add_argument("file", type=Path, metavar="FILE")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Read it; notes go to standard error.

    :raises ConfigError: names line and field.
    """
    path: Path = arguments.file
    found = serve_file.load(path)
    for note in found.notes:
        print(f"vllama: {path}, {note}", file=sys.stderr)
    for spec in found.models:
        names = [spec.name or spec.ref, *spec.aliases]
        print(f"{spec.ref}  served as {', '.join(names)}")
    count = len(found.models)
    print(f"{path} is right: {count} model{'' if count == 1 else 's'}")
    return 0
