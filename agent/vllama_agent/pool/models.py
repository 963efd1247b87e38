"""What the pool asks of stored models, and how their names compare."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from vllama_core.errors import EngineFailed
from vllama_core.gguf import GgufHeader
from vllama_core.model_form import Form
from vllama_core.sizing.shape import ModelShape


class Hold(Protocol):
    """What keeps a loaded model's files from being removed."""

    def release(self) -> None: ...


class Artifact(Protocol):
    """A stored model; the store's class has more."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def form(self) -> Form: ...
    @property
    def place(self) -> Path: ...
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified_at(self) -> datetime: ...
    @property
    def header(self) -> GgufHeader: ...
    @property
    def brief(self) -> GgufHeader: ...
    @property
    def shape(self) -> ModelShape: ...
    @property
    def license(self) -> tuple[str, ...]: ...
    def named(self, name: str) -> Artifact: ...
    def hold(self) -> Hold: ...
    @property
    def engine_key(self) -> tuple[object, ...]: ...
    @property
    def adapters(self) -> tuple[Path, ...]: ...
    @property
    def template(self) -> str | None: ...
    @property
    def system(self) -> str | None: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def messages(self) -> tuple[dict[str, Any], ...]: ...
    def details(self) -> dict[str, Any]: ...


class Store(Protocol):
    """Where models are looked up."""

    def models(self) -> list[Any]: ...
    def find(self, name: str) -> Any: ...
    def resolve(self, ref: str, form: Form | None = None) -> Any: ...


def held(artifact: Artifact) -> Hold:
    """Take hold of a model's files before anything is loaded from them.

    :raises EngineFailed: one is not there any more.
    """
    try:
        return artifact.hold()
    except OSError as error:
        raise EngineFailed(f"{artifact.name} cannot be loaded: {error.filename}: {error.strerror or error}") from error


def key_of(name: str) -> str:
    """Names are compared without case, and `latest` is implied."""
    folded = name.casefold()
    return folded if ":" in folded.rpartition("/")[2] else f"{folded}:latest"
