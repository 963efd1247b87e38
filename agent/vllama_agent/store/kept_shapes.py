"""Shapes of models, kept beside their briefs: to step over the header of a large vocabulary takes a tenth of a cold start.

A shape is kept by the model's digest under ``cache/shapes/``; losing it costs nothing but time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vllama_agent.store import briefs
from vllama_core.sizing.shape import Layer, ModelShape, Weights

log = logging.getLogger(__name__)

VERSION = 1
"""Another one whenever `ModelShape` or what is read into it changes."""


def path_of(home: Path, digest: str) -> Path:
    """Where the shape of a model with this digest is kept."""
    return home / "cache" / "shapes" / f"{digest}.json"


def read(path: Path | None, make: Callable[[], ModelShape]) -> ModelShape:
    """A model's shape: the kept one, or one that is made and kept now.

    :param path: where it is kept; None = nowhere.
    :param make: reads it from the headers of all files; what it raises is raised here.
    """
    kept = _kept(path) if path is not None else None
    if kept is not None:
        return kept
    made = make()
    if path is not None:
        briefs.keep(path, {"version": VERSION, "shape": asdict(made)})
    return made


def _kept(path: Path) -> ModelShape | None:
    try:
        fields = json.loads(path.read_bytes())
        return _shape(fields["shape"]) if fields["version"] == VERSION else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s) and is made anew", path, error)
        return None


def _shape(fields: dict[str, Any]) -> ModelShape:
    layers = tuple(Layer(**layer) for layer in fields["layers"])
    weights = fields["weights"]
    return ModelShape(**fields | {"layers": layers, "weights": Weights(**weights | {"layers": tuple(weights["layers"])})})
