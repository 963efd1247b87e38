"""`vllama import`: take over the models of another program, without copying them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vllama_agent.commands import output, places
from vllama_agent.store import adopt
from vllama_agent.store.adopt import Adoptable
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName

REFUSED = 1
SYSTEM_STORE = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama's installer for Linux has its service keep models."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model: imported, unchanged, kept (the name has another model here) or refused."""

    model: str
    outcome: str
    notes: tuple[str, ...] = ()


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `import`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Take over the models of another program. Nothing is copied: the files stay where they are and belong to it.",
        allow_abbrev=False,
    )
    made.add_argument("models", nargs="*", metavar="MODEL", help="only these (all)")
    made.add_argument("--from", dest="program", choices=["ollama"], required=True, help="whose models")
    made.add_argument("--path", type=Path, metavar="FOLDER", help="where they lie (OLLAMA_MODELS, or ~/.ollama/models)")
    made.add_argument("--force", action="store_true", help="replace models of the same name")
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """One line for each model; no server is needed, and a running one has them at once."""
    root = arguments.path or store_of(os.environ)
    outcomes = [_adopted(places.layers(), model, force=arguments.force) for model in _chosen(adopt.found_in(root), arguments.models)]
    if arguments.json:
        output.as_json([asdict(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            print(f"{outcome.outcome}: {' '.join((outcome.model, *outcome.notes))}")
        count = sum(outcome.outcome == "imported" for outcome in outcomes)
        print(f"{count} of {len(outcomes)} models imported from {root}")
    return REFUSED if any(outcome.outcome == "refused" for outcome in outcomes) else 0


def store_of(environment: Mapping[str, str]) -> Path:
    """Where Ollama keeps its models on this machine."""
    named = environment.get("OLLAMA_MODELS", "").strip()
    if named:
        return Path(named).expanduser()
    own = Path("~/.ollama/models").expanduser()
    return SYSTEM_STORE if not own.is_dir() and SYSTEM_STORE.is_dir() else own


def _chosen(found: list[Adoptable], asked: list[str]) -> Iterator[Adoptable]:
    if not asked:
        yield from found
        return
    by_key = {model.name.key: model for model in found}
    for text in asked:
        name = ModelName.parse(text)
        model = by_key.get(name.key) if name is not None else None
        if model is None:
            raise ConfigError(f"{text!r} is not there; there are: {', '.join(model.name.display for model in found) or 'no models'}")
        yield model


def _adopted(layers: Layers, model: Adoptable, *, force: bool) -> Outcome:
    try:
        manifest = adopt.manifest_of(model)
    except ConfigError as error:
        return Outcome(model.name.display, "refused", (str(error),))
    known = layers.manifest(model.name)
    if known is not None and known.digest == manifest.digest:
        return Outcome(model.name.display, "unchanged")
    if known is not None and not force:
        return Outcome(model.name.display, "kept", ("has another model here; --force replaces it.",))
    library = Library(layers)
    try:
        older = library.publish(manifest)
        if older is not None:
            library.free(older)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{error.filename or layers.home} cannot be written: {why}; VLLAMA_HOME names another place") from error
    return Outcome(model.name.display, "imported", manifest.source.notes)
