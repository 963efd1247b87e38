"""What a stored model is: its files, where it came from, and what it says beside them. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from vllama_core.model_form import Form
from vllama_core.modelref import ModelName

KINDS = ("demo", "hub", "registry", "url", "s3", "oci", "pvc", "converted", "created", "imported")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """One file of a model.

    :ivar digest: its sha256 in hexadecimal.
    :ivar size: bytes.
    :ivar name: what it was called where it came from.
    :ivar path: where it lies if not under ``blobs/``: an absolute path in the shared Hugging Face cache, in another tool's store or in a
        layered read-only store. In the file, a path below the home is written relative to it, so that a home can be mounted elsewhere.
    """

    digest: str
    size: int
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model came from.

    :ivar kind: one of `KINDS`.
    :ivar ref: what was asked for, as it was typed.
    :ivar repo: the repository it was found in, such as ``ggml-org/gemma-3-270m-GGUF``.
    :ivar revision: the repository's commit, the artifact's digest, or a checksum over what a folder's listing tells.
    :ivar quantization: what was chosen, such as ``Q4_K_M``.
    :ivar converter: what made its files here of the repository's; another one would make others.
    :ivar notes: sentences that a person should see: another quantization than asked for, what a conversion left out.
    """

    kind: str
    ref: str
    repo: str | None = None
    revision: str | None = None
    quantization: str | None = None
    converter: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a name stands for.

    :ivar files: a GGUF file, or all files of a split set, the first one first; in Hugging Face's form all files of one folder.
    :ivar form: which of the two.
    :ivar projector: the vision projector beside it.
    :ivar adapters: LoRA adapters.
    :ivar license: texts.
    :ivar template: Jinja text that replaces the file's own.
    :ivar system: the system prompt of a chat that brings none.
    :ivar parameters: options by Ollama's names, below those of a request.
    :ivar messages: turns that stand before those of a request, each with ``role`` and ``content``.
    """

    name: ModelName
    files: tuple[FileRef, ...]
    source: Source
    form: Form = Form.GGUF
    projector: FileRef | None = None
    adapters: tuple[FileRef, ...] = ()
    license: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = ()

    @property
    def all_files(self) -> tuple[FileRef, ...]:
        """Files, projector and adapters."""
        return (*self.files, *((self.projector,) if self.projector else ()), *self.adapters)

    @property
    def digest(self) -> str:
        """64 hex digits for what the model is, whatever its name: of a bare file its sha256, else one over everything that answers
        depend on. A copy has the digest of what it copies.
        """
        told = {key: getattr(self, key) for key in ("template", "system", "parameters", "messages") if getattr(self, key)}
        digests = [file.digest for file in self.all_files]
        if not told and len(digests) == 1:
            return digests[0]
        return hashlib.sha256(json.dumps([digests, told], sort_keys=True).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.all_files)
