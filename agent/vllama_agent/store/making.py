"""Files that are made here: converted from Hugging Face files that were uploaded, or quantized; each becomes a blob of the home."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from vllama_agent.store import convert, manifests, quantize
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.events import OnEvent
from vllama_agent.store.library import Library
from vllama_agent.store.manifest import FileRef, Manifest
from vllama_core import quantization as quantizations
from vllama_core.errors import InvalidRequest
from vllama_core.model_form import Form

UNQUANTIZED = "F16"
"""What uploaded Hugging Face files become when no quantization is asked for, as with Ollama."""


def are_hugging_face(given: Mapping[str, str]) -> bool:
    """Whether uploaded files, by their names, are to be converted."""
    return any(name.endswith((".safetensors", ".safetensors.index.json")) for name in given)


async def converted(
    library: Library, given: Mapping[str, str], *, name: str, quantization: str | None, on_event: OnEvent
) -> tuple[FileRef, tuple[str, ...]]:
    """One GGUF file of uploaded Hugging Face files, and notes on it.

    :param given: sha256 by file name.
    :raises InvalidRequest: one of them is not here.
    :raises ConfigError, ConversionFailed: see `convert.convert`.
    """
    with _scratch(library) as scratch:
        snapshot = scratch / name
        for file, digest in given.items():
            path = library.blob(digest)
            if path is None:
                raise InvalidRequest(f"files: the blob sha256:{digest} of {file} is not here; send it to /api/blobs first", field="files")
            _link(snapshot / file, path)
        wanted = quantizations.parse(quantization or UNQUANTIZED)
        made = await convert.convert(
            snapshot, out=scratch / "made.gguf", quantization=wanted.name, home=library.layers.home, on_event=on_event, name=name
        )
        return _kept(library, made, f"{name}-{wanted.name}.gguf"), made.notes


async def quantized(library: Library, manifest: Manifest, *, quantization: str, on_event: OnEvent) -> tuple[FileRef, tuple[str, ...]]:
    """A smaller file of a model's, and notes on it.

    :raises InvalidRequest: the model has several files, or none that is GGUF.
    :raises ConfigError, ConversionFailed: see `quantize.quantize`.
    """
    if manifest.form is not Form.GGUF:
        raise InvalidRequest(
            f"quantize: {manifest.source.ref} is here in Hugging Face's form; pull it without --format hf, then quantize that",
            field="quantize",
        )
    if len(manifest.files) > 1:
        raise InvalidRequest(
            "quantize: a model of several files cannot be quantized; join them first with llama-gguf-split", field="quantize"
        )
    source = manifests.located(library.layers.home, manifest.files[0])
    wanted = quantizations.parse(quantization)
    with _scratch(library) as scratch:
        made = await quantize.quantize(
            source, out=scratch / "made.gguf", quantization=wanted.name, on_event=on_event, label=manifest.name.display
        )
        return _kept(library, made, f"{manifest.name.model}-{wanted.name}.gguf"), made.notes


def _link(link: Path, blob: Path) -> None:
    """Give a blob the name that a client chose.

    :raises InvalidRequest: no file can have it beside the others: it is too long, or a folder's, or holds a NUL.
    """
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob.absolute())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"files: one of the names cannot be a file's beside the others: {why}", field="files") from None


@contextlib.contextmanager
def _scratch(library: Library) -> Iterator[Path]:
    blobs = library.layers.home / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=blobs, prefix=f"{manifests.SCRATCH}create-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _kept(library: Library, made: ConvertedFile, name: str) -> FileRef:
    os.replace(made.path, manifests.blob(library.layers.home, made.sha256))
    return FileRef(digest=made.sha256, size=made.size, name=name)
