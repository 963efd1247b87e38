"""Read a `vllama.yaml` from disk; `vllama_core.serve_spec` says what it means."""

from __future__ import annotations

from pathlib import Path

from vllama_core import serve_spec
from vllama_core.errors import ConfigError
from vllama_core.serve_spec import ServeFile


def load(path: Path) -> ServeFile:
    """What the file says.

    :raises ConfigError: it cannot be read, or says what cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return serve_spec.parse(text, file=str(path))
