"""`vllama verify`: read the models' files and check every byte."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from vllama_agent.commands import output, places
from vllama_agent.store import verify
from vllama_core import human
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName

DAMAGED = 1


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `verify`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Read the models' files and check every byte against its sha256. The exit status is 1 if one is not right.",
        allow_abbrev=False,
    )
    made.add_argument("models", nargs="*", metavar="MODEL", help="only these (all)")
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """One line as soon as a file is read; no server is needed."""
    verdicts = []
    for verdict in verify.check(places.layers(), tuple(_name(model) for model in arguments.models)):
        verdicts.append(verdict)
        if not arguments.json:
            print(f"{verdict.problem or 'ok'}: {', '.join(verdict.models)}: {verdict.path} ({human.size(verdict.size)})", flush=True)
    if arguments.json:
        output.as_json([asdict(verdict) for verdict in verdicts])
    bad = sorted({model for verdict in verdicts if verdict.problem for model in verdict.models})
    if bad and not arguments.json:
        print(f"\nfetch again what is not right: vllama pull --verify MODEL; or remove it: vllama rm {' '.join(bad)}")
    return DAMAGED if bad else 0


def _name(text: str) -> ModelName:
    parsed = ModelName.parse(text)
    if parsed is None:
        raise ConfigError(f"{text!r} cannot be a model's name; `vllama list` shows them")
    return parsed
