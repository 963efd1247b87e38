"""One stored model, as an engine loads it and as the APIs show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from vllama_agent.store import header
from vllama_core.gguf import GgufHeader


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model and its files.

    :ivar name: display form, such as ``gemma3:270m-base``.
    :ivar files: a GGUF file, or all files of a split set, the first one first.
    :ivar digest: 64 hex digits; equal bytes have equal digests (see `files.fingerprint` for files of users).
    :ivar size: bytes of all files.
    :ivar modified_at: with its time zone.
    :ivar license: a text, where one is known.
    """

    name: str
    files: tuple[Path, ...]
    digest: str
    size: int
    modified_at: datetime
    license: str | None = None

    @cached_property
    def header(self) -> GgufHeader:
        """The first file's header, read once.

        :raises GgufError: it is not readable as one.
        """
        return header.read(self.files[0])

    def details(self) -> dict[str, Any]:
        """The `details` object of Ollama's replies."""
        found = self.header
        family = found.architecture
        details: dict[str, Any] = {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family] if family else None,
            "parameter_size": found.parameter_size,
            "quantization_level": found.quantization,
        }
        lengths = {"context_length": found.context_length, "embedding_length": found.embedding_length}
        return details | {key: value for key, value in lengths.items() if value}
