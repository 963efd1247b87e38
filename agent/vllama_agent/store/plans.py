"""From a reference to files that must be fetched, and from fetched files to a manifest.

A plan is made by asking, and costs little; carrying it out costs the download.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from vllama_agent.chat import go_templates
from vllama_agent.environments import layout
from vllama_agent.store import conversion, download, header, manifests, pick, remote
from vllama_agent.store.convert import convert
from vllama_agent.store.download import Wanted
from vllama_agent.store.events import OnEvent
from vllama_agent.store.hub import Hub, RemoteFile, Repository
from vllama_agent.store.manifests import FileRef, Manifest, Source
from vllama_agent.store.registry import Layer, Registry
from vllama_agent.store.transfer import Origin
from vllama_core import architectures
from vllama_core import quantization as quantization_table
from vllama_core.errors import ConfigError, FetchFailed
from vllama_core.gguf import GgufError, GgufHeader
from vllama_core.modelref import ModelName

Finish = Callable[[OnEvent], Awaitable[Manifest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reference leads to.

    :ivar ref: as it was typed.
    :ivar notes: sentences for whoever asked: another quantization than wanted, for instance.
    :ivar finish: makes the manifest when everything is here. None: there is no model to be named, only files in a cache.
    """

    name: ModelName
    ref: str
    downloads: tuple[Wanted, ...]
    finish: Finish | None
    notes: tuple[str, ...] = ()


# --- the hub ----------------------------------------------------------------------------------------------------------------------


def hub_gguf(hub: Hub, repository: Repository, choice: pick.Choice, *, name: ModelName, ref: str, license_id: str = "") -> Plan:
    """GGUF files of the hub. They stay in its cache, under their own names: the files of a split set find each other by them."""
    model = [repository.files[path] for path in choice.files]
    projector = repository.files[choice.projector] if choice.projector else None
    files = [*model, *([projector] if projector else [])]
    notes = (choice.note,) if choice.note else ()

    async def finish(_: OnEvent) -> Manifest:
        refs = [await asyncio.to_thread(_linked, hub, repository, file) for file in files]
        return Manifest(
            name=name,
            files=tuple(refs[: len(model)]),
            projector=refs[-1] if projector else None,
            source=Source(
                kind="hub", ref=ref, repo=repository.name, revision=repository.commit, quantization=choice.quantization, notes=notes
            ),
            license=_licenses(license_id, repository),
        )

    return Plan(name=name, ref=ref, downloads=tuple(hub.wanted(repository, file) for file in files), finish=finish, notes=notes)


def _licenses(known: str, repository: Repository) -> tuple[str, ...]:
    word = known or repository.license
    return (word,) if word else ()


def _linked(hub: Hub, repository: Repository, file: RemoteFile) -> FileRef:
    """A file of the cache; blocks to hash the few that git keeps itself, whose sha256 the hub does not know."""
    path = hub.link(repository, file)
    digest = file.checksum if manifests.is_digest(file.checksum) else download.checksum_of(path)
    return FileRef(digest=digest, size=file.size, name=file.path.rpartition("/")[2], path=str(path.absolute()))


def hub_snapshot(hub: Hub, repository: Repository, *, name: ModelName, ref: str) -> Plan:
    """A model in the hub's own format, into the hub's cache; no engine of this version serves it."""
    files = [repository.files[path] for path in pick.snapshot(repository.files, repo=repository.name)]
    downloads = tuple(hub.wanted(repository, file) for file in files)
    return Plan(name=name, ref=ref, downloads=downloads, finish=None)


def snapshot_folder(hub: Hub, repository: Repository) -> Path:
    """Where a snapshot's files have their names; they get them by this."""
    for path in pick.snapshot(repository.files, repo=repository.name):
        hub.link(repository, repository.files[path])
    return hub.folder(repository.name) / "snapshots" / repository.commit


def hub_converted(
    hub: Hub, repository: Repository, *, name: ModelName, ref: str, quantization: str, home: Path, license_id: str = ""
) -> Plan:
    """Original weights, converted here. What was made of the same commit before is used again.

    :raises ConfigError: the converter is not installed, or does not make this quantization.
    """
    quantization_table.parse(quantization)
    layout.require(home)  # rather than after an hour of downloading
    note = f"no GGUF file is published for {repository.name}; converting its safetensors to {quantization}"
    source = Source(
        kind="converted", ref=ref, repo=repository.name, revision=repository.commit, quantization=quantization,
        notes=(note, conversion.CONVERTER),
    )  # fmt: skip
    license_words = _licenses(license_id, repository)
    made = _made_before(home, source)
    if made is not None:

        async def reuse(_: OnEvent) -> Manifest:
            return Manifest(name=name, files=made, source=source, license=license_words)

        return Plan(name=name, ref=ref, downloads=(), finish=reuse)

    async def finish(on_event: OnEvent) -> Manifest:
        folder = await asyncio.to_thread(snapshot_folder, hub, repository)
        key = hashlib.sha256(f"{repository.name}@{repository.commit}:{quantization}".encode()).hexdigest()
        out = home / "partials" / f"{key}.{os.getpid()}.gguf"
        out.parent.mkdir(parents=True, exist_ok=True)
        file = await convert(
            folder, out=out, quantization=quantization, home=home, on_event=on_event, name=repository.name.rpartition("/")[2]
        )
        await asyncio.to_thread(_into_blobs, home, file.path, file.sha256)
        stem = repository.name.rpartition("/")[2]
        ref = FileRef(digest=file.sha256, size=file.size, name=f"{stem}-{quantization}.gguf")
        return Manifest(name=name, files=(ref,), source=source, license=license_words)

    snapshot = hub_snapshot(hub, repository, name=name, ref=ref)
    return Plan(name=name, ref=ref, downloads=snapshot.downloads, finish=finish, notes=(note,))


def _made_before(home: Path, wanted: Source) -> tuple[FileRef, ...] | None:
    """Files of another name that were converted from the same commit, by the same converter, to the same quantization."""
    for path in manifests.paths(home):
        found = manifests.read(path)
        if found is None or found.source.kind != "converted":
            continue
        same = (found.source.repo, found.source.revision, found.source.quantization) == (wanted.repo, wanted.revision, wanted.quantization)
        if same and found.source.notes[-1:] == wanted.notes[-1:] and all(manifests.located(home, file).is_file() for file in found.files):
            return found.files
    return None


def _into_blobs(home: Path, file: Path, digest: str) -> None:
    target = manifests.blob(home, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.chmod(file, manifests.READABLE)
    os.replace(file, target)


# --- Ollama's registry ------------------------------------------------------------------------------------------------------------


async def registry(source: Registry, *, name: ModelName, ref: str, home: Path, instead: str) -> Plan:
    """A model of the registry. Its header is read before anything is fetched: not all of Ollama's models run elsewhere.

    :param instead: what can be asked for where it cannot be used; a name, or empty.
    :raises ModelNotFound: the registry has none of that name.
    :raises ConfigError: it cannot be used here; the sentence says why, and what to ask for instead.
    """
    layers = await source.layers(name)
    by_kind: dict[str, list[Layer]] = {}
    for layer in layers:
        by_kind.setdefault(layer.kind, []).append(layer)
    models = by_kind.get("model", [])
    way_out = f"; its GGUF on the hub can be used instead: {instead}" if instead else "; look for a GGUF of it on the Hugging Face hub"
    if len(models) != 1:
        raise ConfigError(f"{name.display} of the registry is no single GGUF file ({len(models)} model layers){way_out}")
    found = await source.header(name, models[0])
    why = architectures.refusal(found)
    if why is not None:
        raise ConfigError(f"{name.display} of the registry cannot be served: {why}{way_out}")
    texts = {kind: [await source.text(name, layer) for layer in by_kind.get(kind, [])] for kind in TEXTS}
    template = _template(texts["template"], found, name, way_out)
    projectors, adapters = by_kind.get("projector", []), by_kind.get("adapter", [])
    blobs = [*models, *projectors[:1], *adapters]

    async def finish(_: OnEvent) -> Manifest:
        refs = [FileRef(digest=layer.digest, size=layer.size) for layer in blobs]
        return Manifest(
            name=name,
            files=(refs[0],),
            projector=refs[1] if projectors else None,
            adapters=tuple(refs[len(refs) - len(adapters) :]),
            source=Source(kind="registry", ref=ref, repo=f"{name.host}/{name.namespace}/{name.model}", quantization=found.quantization),
            license=tuple(texts["license"]),
            template=template,
            system="\n".join(texts["system"]) or None,
            parameters=_json(texts["params"], dict, "options", name) or {},
            messages=tuple(_json(texts["messages"], list, "messages", name) or ()),
        )

    return Plan(name=name, ref=ref, downloads=tuple(_blob(source, name, layer, home) for layer in blobs), finish=finish)


async def url(http: aiohttp.ClientSession, address: str, *, name: ModelName, home: Path) -> Plan:
    """A GGUF file at an address. Nobody says what its bytes should be: its header and its size must fit together.

    :raises ConfigError: it cannot be used here.
    :raises FetchFailed: it cannot be looked at.
    """
    looked = await remote.header(http, Origin(address))
    origin = Origin(address, etag=looked.etag)
    why = architectures.refusal(looked.header)
    if why is not None:
        raise ConfigError(f"{origin.shown} cannot be served: {why}")
    # A query may hold a signature that is another one tomorrow, and that nobody should read in a list.
    key = hashlib.sha256(f"{origin.shown} {looked.etag} {looked.size}".encode()).hexdigest()
    wanted = Wanted(
        target=home / "partials" / f"{key}.gguf", partials=home / "partials", origin=origin, checksum=key, size=looked.size, is_known=False
    )

    async def finish(_: OnEvent) -> Manifest:
        digest = await asyncio.to_thread(_checked_into_blobs, home, wanted.target)
        file = FileRef(digest=digest, size=looked.size, name=origin.shown.rpartition("/")[2])
        source = Source(kind="url", ref=origin.shown, quantization=looked.header.quantization)
        return Manifest(name=name, files=(file,), source=source)

    return Plan(name=name, ref=origin.shown, downloads=(wanted,), finish=finish)


def _checked_into_blobs(home: Path, file: Path) -> str:
    try:
        header.read(file)
    except GgufError as error:
        file.unlink()
        raise FetchFailed(f"what was fetched is damaged: {error}; pull again") from None
    digest = download.checksum_of(file)
    _into_blobs(home, file, digest)
    return digest


TEXTS = ("template", "license", "system", "params", "messages")
"""Layers that are read into the manifest."""


def _blob(source: Registry, name: ModelName, layer: Layer, home: Path) -> Wanted:
    return Wanted(
        target=manifests.blob(home, layer.digest),
        partials=home / "partials",
        origin=source.origin(name, layer),
        checksum=layer.digest,
        size=layer.size,
    )


def _template(texts: list[str], found: GgufHeader, name: ModelName, way_out: str) -> str | None:
    """The file's own Jinja template is the one that the model was trained with; Ollama's, in Go, is a translation of it."""
    if isinstance(found.metadata.get("tokenizer.chat_template"), str) or not texts:
        return None
    if "{%" in texts[-1]:  # Go's language has no such statement
        return texts[-1]
    try:
        return go_templates.to_jinja(texts[-1])
    except go_templates.UnknownTemplate as error:
        raise ConfigError(f"{name.display} of the registry cannot be served: {error}{way_out}") from None


def _json(texts: list[str], kind: type, what: str, name: ModelName) -> Any:
    """The last layer's JSON, as Ollama takes it."""
    if not texts:
        return None
    try:
        value = orjson.loads(texts[-1])
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the {what} of {name.display} are no JSON: {error.msg}") from None
    if not isinstance(value, kind):
        raise ConfigError(f"the {what} of {name.display} are a {type(value).__name__}, not a {kind.__name__}")
    return value
