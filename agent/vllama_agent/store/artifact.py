"""One stored model, as an engine loads it and as the APIs show it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from vllama_agent.store import briefs, header, hf_files, kept_shapes
from vllama_agent.store.holds import Hold
from vllama_core.gguf import GgufHeader
from vllama_core.model_form import Form
from vllama_core.sizing import gguf_shape
from vllama_core.sizing.shape import ModelShape

FORMATS = {Form.GGUF: "gguf", Form.HUGGING_FACE: "safetensors"}
"""Ollama's words, in `details`."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model and its files.

    :ivar name: display form, such as ``gemma3:270m-base``.
    :ivar files: a GGUF file, or all files of a split set, the first one first; in Hugging Face's form all files of one folder.
    :ivar form: which of the two.
    :ivar digest: 64 hex digits; equal models have equal digests (see `manifest.Manifest.digest`, and `files.fingerprint` for files of
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
    :ivar notes: sentences that a person should see; see `manifest.Source`.
    :ivar parent: the model that this one was created from.
    :ivar kept_brief: see `brief`.
    :ivar shape_file: where its shape is kept; None = nowhere.
    """

    name: str
    files: tuple[Path, ...]
    digest: str
    size: int
    modified_at: datetime
    form: Form = Form.GGUF
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    license: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    parent: str = ""
    kept_brief: GgufHeader | None = None
    shape_file: Path | None = None

    @cached_property
    def header(self) -> GgufHeader:
        """The first file's header, read once; in Hugging Face's form what a GGUF header of the model would say.

        :raises UnreadableModel: the files are not what their form promises.
        :raises OSError: one is not there any more.
        """
        return hf_files.header(self.files) if self.form is Form.HUGGING_FACE else header.read(self.files[0])

    @cached_property
    def brief(self) -> GgufHeader:
        """The header without arrays and tensors; the store has it at hand.

        :raises UnreadableModel, OSError: as `header`.
        """
        return self.kept_brief or briefs.of(self.header)

    @cached_property
    def shape(self) -> ModelShape:
        """What sizing needs to know, of all files.

        :raises UnreadableModel, OSError: as `header`.
        """
        return kept_shapes.read(self.shape_file, self._shape)

    def _shape(self) -> ModelShape:
        if self.form is Form.HUGGING_FACE:
            return hf_files.shape(self.files)
        return gguf_shape.shape_of([self.header, *(header.read(file) for file in self.weights[1:])])

    @cached_property
    def projector_header(self) -> GgufHeader | None:
        """The projector's header; None: there is no projector.

        :raises GgufError: it is not readable as one.
        """
        return header.read(self.projector) if self.projector is not None else None

    @property
    def folder(self) -> Path:
        """Where its files are; engines for Hugging Face's form are given this."""
        return self.files[0].parent

    @property
    def place(self) -> Path:
        """What it is called by where it lies: a file, or a folder."""
        return self.folder if self.form is Form.HUGGING_FACE else self.files[0]

    @property
    def weights(self) -> tuple[Path, ...]:
        """All files: the model's, its projector's, its adapters'."""
        return (*self.files, *((self.projector,) if self.projector else ()), *self.adapters)

    @property
    def engine_key(self) -> tuple[object, ...]:
        """What an engine is loaded with: models that differ in nothing of this share one engine."""
        return self.files, self.projector, self.adapters, self.parameters.get("num_ctx")

    def named(self, name: str) -> Self:
        """The same model under another name."""
        return replace(self, name=name)

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
            "format": FORMATS[self.form],
            "family": family,
            "families": [family] if family else None,
            "parameter_size": found.parameter_size,
            "quantization_level": found.quantization,
        }
        lengths = {"context_length": found.context_length, "embedding_length": found.embedding_length}
        return details | {key: value for key, value in lengths.items() if value}
