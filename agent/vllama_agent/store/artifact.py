"""One stored model, as an engine loads it and as the APIs show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from vllama_agent.store import briefs, header
from vllama_agent.store.holds import Hold
from vllama_core.gguf import GgufHeader


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model and its files.

    :ivar name: display form, such as ``gemma3:270m-base``.
    :ivar files: a GGUF file, or all files of a split set, the first one first.
    :ivar digest: 64 hex digits; equal models have equal digests (see `manifests.Manifest.digest`, and `files.fingerprint` for files of
        users).
    :ivar size: bytes of all files.
    :ivar modified_at: with its time zone.
    :ivar projector: the vision projector, where there is one.
    :ivar adapters: LoRA adapters.
    :ivar license: texts, where any are known.
    :ivar template: Jinja text that replaces the file's own.
    :ivar system: the system prompt of a chat that brings none.
    :ivar parameters: options by Ollama's names, below those of a request.
    :ivar messages: turns that stand before those of a request.
    :ivar parent: the model that this one was created from.
    :ivar kept_brief: see `brief`.
    """

    name: str
    files: tuple[Path, ...]
    digest: str
    size: int
    modified_at: datetime
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    license: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = ()
    parent: str = ""
    kept_brief: GgufHeader | None = None

    @cached_property
    def header(self) -> GgufHeader:
        """The first file's header, read once.

        :raises GgufError: it is not readable as one.
        """
        return header.read(self.files[0])

    @cached_property
    def brief(self) -> GgufHeader:
        """The header without arrays and tensors; the store has it at hand.

        :raises GgufError: the header is not readable.
        """
        return self.kept_brief or briefs.of(self.header)

    @cached_property
    def projector_header(self) -> GgufHeader | None:
        """The projector's header; None: there is no projector.

        :raises GgufError: it is not readable as one.
        """
        return header.read(self.projector) if self.projector is not None else None

    @property
    def weights(self) -> tuple[Path, ...]:
        """All files: the model's, its projector's, its adapters'."""
        return (*self.files, *((self.projector,) if self.projector else ()), *self.adapters)

    @property
    def engine_key(self) -> tuple[object, ...]:
        """What an engine is loaded with: models that differ in nothing of this share one engine."""
        return self.files, self.projector, self.adapters, self.parameters.get("num_ctx")

    def hold(self) -> Hold:
        """Keep its files from being removed.

        :raises OSError: one is not there any more.
        """
        return Hold(self.weights)

    def details(self) -> dict[str, Any]:
        """The `details` object of Ollama's replies."""
        found = self.brief
        family = found.architecture
        details: dict[str, Any] = {
            "parent_model": self.parent,
            "format": "gguf",
            "family": family,
            "families": [family] if family else None,
            "parameter_size": found.parameter_size,
            "quantization_level": found.quantization,
        }
        lengths = {"context_length": found.context_length, "embedding_length": found.embedding_length}
        return details | {key: value for key, value in lengths.items() if value}
