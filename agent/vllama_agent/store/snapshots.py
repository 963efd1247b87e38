"""A folder of Hugging Face files, as the converter gets it: what is in it, how large it is, and a view without strangers' programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllama_agent.store import conversion
from vllama_core import safetensors
from vllama_core.errors import ConfigError
from vllama_core.safetensors import SafetensorsError

SMALLEST_VALUE = 2
"""Bytes of a value of pickled weights, which are F16 or larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A model's Hugging Face files.

    :ivar model: what it is called.
    :ivar files: paths that the converter may see, relative to the folder.
    :ivar parameters: values in its weights.
    :ivar notes: what the GGUF file will not hold.
    """

    folder: Path
    model: str
    files: tuple[str, ...]
    parameters: int
    notes: tuple[str, ...]


def read(folder: Path, *, name: str | None, allow_pickle: bool = False) -> Snapshot:
    """Look at a folder.

    :param name: what the model is called; None: as its repository or folder.
    :param allow_pickle: see `conversion.visible`.
    :raises ConfigError: there is nothing in it that can be converted, or a file of it is broken.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give one with a model's Hugging Face files")
    model = name or conversion.model_name(folder.absolute())
    listed = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    files = conversion.visible(listed, model=model, allow_pickle=allow_pickle)
    return Snapshot(
        folder=folder,
        model=model,
        files=tuple(files),
        parameters=sum(_parameters(folder / file) for file in files),
        notes=conversion.notes_on(_config(folder / "config.json")),
    )


def view(snapshot: Snapshot, target: Path) -> Path:
    """A folder of links to the files that the converter may see; it takes the model's name from the folder's."""
    for file in snapshot.files:
        link = target / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((snapshot.folder / file).resolve())
    return target


def _parameters(path: Path) -> int:
    """Values in a file of weights; of other files none.

    :raises ConfigError: it is broken or cut off.
    """
    if conversion.PICKLED.fullmatch(path.name):
        return path.stat().st_size // SMALLEST_VALUE  # at most so many; nobody reads a pickle to count
    return safetensors_header(path).parameter_count if path.suffix == ".safetensors" else 0


def safetensors_header(path: Path) -> safetensors.SafetensorsHeader:
    """The header of a file of weights.

    :raises ConfigError: it is broken or cut off.
    """
    try:
        with open(path, "rb") as file:
            beginning = file.read(safetensors.LENGTH_BYTES)
            found = safetensors.parse(beginning + file.read(safetensors.header_size(beginning) - len(beginning)))
        size = path.stat().st_size
    except (OSError, SafetensorsError) as error:
        raise ConfigError(f"{path}: {error}; fetch it again") from error
    if size < found.data_end:
        raise ConfigError(f"{path}: the file is cut off: it has {size} bytes of {found.data_end}; fetch it again")
    return found


def _config(path: Path) -> dict[str, Any]:
    """The model's `config.json`; empty where there is none, which some formats do without."""
    try:
        config = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}; fetch it again") from error
    return config if isinstance(config, dict) else {}
