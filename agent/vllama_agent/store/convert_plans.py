"""Plans for GGUF files that are made here of original weights, wherever those lie. What was made of the same ones before is used again."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from vllama_agent.environments import layout
from vllama_agent.store import conversion, manifests
from vllama_agent.store.convert import convert
from vllama_agent.store.events import OnEvent
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.plans import Plan, into_blobs
from vllama_agent.store.wanted import Wanted
from vllama_core import quantization as quantization_table
from vllama_core.modelref import ModelName
from vllama_core.quantization import Quantization

LARGEST_VALUE = 4
"""Bytes of a value of original weights: of F32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model in Hugging Face's own format.

    :ivar place: the repository, or the folder, that it is in.
    :ivar revision: another one for other bytes.
    :ivar model: what the model itself is called there.
    :ivar downloads: what must be fetched first.
    :ivar folder: gives the folder of its files when they are here, for as long as they are needed.
    :ivar pickled: whether the weights are Python pickles.
    """

    place: str
    revision: str
    model: str
    downloads: tuple[Wanted, ...]
    folder: Callable[[], AbstractAsyncContextManager[Path]]
    license: tuple[str, ...] = ()
    pickled: bool = False


def converted(weights: Weights, *, name: ModelName, ref: str, quantization: str, home: Path) -> Plan:
    """Weights as one GGUF file. It blocks to look at what is here.

    :raises ConfigError: the converter is not installed, or does not make this quantization.
    """
    wanted = quantization_table.parse(quantization)
    layout.require(home)  # rather than after an hour of downloading
    kind = "pickled weights, of which only tensors are loaded," if weights.pickled else "safetensors"
    note = f"no GGUF file is published for {weights.place}; converting its {kind} to {quantization}"
    source = Source(
        kind="converted", ref=ref, repo=weights.place, revision=weights.revision, quantization=quantization,
        converter=conversion.CONVERTER,
    )  # fmt: skip
    made = _made_before(home, source)
    if made is not None:

        async def reuse(_: OnEvent) -> Manifest:
            return Manifest(name=name, files=made.files, source=replace(made.source, ref=ref), license=weights.license)

        return Plan(name=name, ref=ref, downloads=(), finish=reuse)

    async def finish(on_event: OnEvent) -> Manifest:
        file, notes = await _made(weights, quantization=quantization, home=home, on_event=on_event)
        return Manifest(name=name, files=(file,), source=replace(source, notes=(note, *notes)), license=weights.license)

    room = (home / "partials", least_room(weights, wanted))
    return Plan(name=name, ref=ref, downloads=weights.downloads, finish=finish, notes=(note,), room=room)


def least_room(weights: Weights, wanted: Quantization) -> int:
    """Bytes that making the file takes at least, as far as its originals' sizes tell: their values may have 32 bits, which makes few of
    them. `convert.convert` asks for exactly what it needs, when their headers are here.
    """
    values = sum(file.size for file in weights.downloads) // LARGEST_VALUE
    return int(values * (wanted.bits if wanted.direct else 16) / 8)


async def _made(weights: Weights, *, quantization: str, home: Path, on_event: OnEvent) -> tuple[FileRef, tuple[str, ...]]:
    """The file, and what its maker says of it."""
    async with weights.folder() as folder:
        key = hashlib.sha256(f"{weights.place}@{weights.revision}:{quantization}".encode()).hexdigest()
        out = home / "partials" / f"{key}.{uuid.uuid4().int}.gguf"
        out.parent.mkdir(parents=True, exist_ok=True)
        file = await convert(
            folder, out=out, quantization=quantization, home=home, on_event=on_event, name=weights.model, allow_pickle=weights.pickled
        )
        await asyncio.to_thread(into_blobs, home, file.path, file.sha256)
    return FileRef(digest=file.sha256, size=file.size, name=f"{weights.model}-{quantization}.gguf"), file.notes


def _made_before(home: Path, wanted: Source) -> Manifest | None:
    """What another name stands for that was converted from the same weights, by the same converter, to the same quantization."""
    for path in manifests.paths(home):
        found = manifests.read(path)
        if found is None or replace(found.source, ref=wanted.ref, notes=()) != wanted:
            continue
        if all(manifests.located(home, file).is_file() for file in found.files):
            return found
    return None
