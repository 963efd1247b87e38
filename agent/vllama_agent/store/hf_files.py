"""A model in Hugging Face's format as it lies in one folder: its configuration, its weights' headers, its chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vllama_agent.store import snapshots
from vllama_core import hf_header
from vllama_core.errors import ConfigError, UnreadableModel
from vllama_core.gguf import GgufHeader
from vllama_core.safetensors import SafetensorsHeader
from vllama_core.sizing import hf_shape
from vllama_core.sizing.shape import ModelShape

CONFIG = "config.json"
WEIGHTS = ".safetensors"
TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
"""Those with names, since version 4.52 of transformers."""


def is_model(names: Iterable[str]) -> bool:
    """Whether files of these names are a model that engines for this format load."""
    found = list(names)
    return CONFIG in found and any(name.endswith(WEIGHTS) for name in found)


def header(files: Sequence[Path]) -> GgufHeader:
    """What a GGUF header of this model would say.

    :param files: all of one folder.
    :raises UnreadableModel: a file of it is broken or cut off.
    :raises OSError: one cannot be read.
    """
    folder = files[0].parent
    try:
        return hf_header.described(_object(folder / CONFIG), _weights(files), templates=templates(folder))
    except ConfigError as error:
        raise UnreadableModel(str(error)) from error


def shape(files: Sequence[Path]) -> ModelShape:
    """What sizing needs to know. Parameters and errors as `header`."""
    try:
        return hf_shape.shape_of(_object(files[0].parent / CONFIG), _weights(files))
    except ConfigError as error:
        raise UnreadableModel(f"{files[0].parent}: {error}") from error


def _weights(files: Sequence[Path]) -> list[SafetensorsHeader]:
    return [snapshots.safetensors_header(file) for file in sorted(files) if file.name.endswith(WEIGHTS)]


def templates(folder: Path) -> dict[str, str]:
    """Chat templates by name. Files of their own go before what the tokenizer's settings say, as in transformers.

    :raises UnreadableModel: the settings are broken.
    :raises OSError: a file cannot be read.
    """
    own, settings = folder / TEMPLATE_FILE, folder / "tokenizer_config.json"
    if not own.is_file():
        return hf_header.templates_of(_object(settings)) if settings.is_file() else {}
    found = {hf_header.DEFAULT: own}
    found |= {file.stem: file for file in (folder / MORE_TEMPLATES).glob("*.jinja")}
    return {name: file.read_text(encoding="utf-8", errors="replace") for name, file in found.items()}


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UnreadableModel(f"{path} is no JSON ({type(error).__name__}); fetch it again") from error
    if not isinstance(found, dict):
        raise UnreadableModel(f"{path} is no JSON object; fetch it again")
    return found
