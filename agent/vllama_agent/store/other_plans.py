"""Plans for models of Ollama's registry, and for GGUF files at an address. Both are looked at before anything is fetched."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from vllama_agent.apis import options
from vllama_agent.chat import go_templates
from vllama_agent.store import header, manifests, remote
from vllama_agent.store import wanted as wanted_files
from vllama_agent.store.events import OnEvent
from vllama_agent.store.library import Vanished
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.origin import Origin
from vllama_agent.store.plans import Plan
from vllama_agent.store.registry import CONFIG, Layer, Registry
from vllama_agent.store.wanted import Wanted
from vllama_core import architectures
from vllama_core.errors import ConfigError, FetchFailed
from vllama_core.gguf import GgufError, GgufHeader
from vllama_core.modelref import ModelName

TEXTS = ("template", "license", "system", "params", "messages", CONFIG)
"""Layers that are read at once: all but the last go into the manifest."""


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
    renderer = (_json(texts[CONFIG], dict, "settings", name) or {}).get("renderer")
    template = _template(texts["template"], found, name, way_out, renderer=renderer)
    parameters, notes = options.legal(_json(texts["params"], dict, "options", name) or {})
    turns = tuple(_json(texts["messages"], list, "messages", name) or ())
    repo = f"{name.host}/{name.namespace}/{name.model}"
    projectors, adapters = by_kind.get("projector", []), by_kind.get("adapter", [])
    blobs = [*models, *projectors[:1], *adapters]

    async def finish(_: OnEvent) -> Manifest:
        refs = [FileRef(digest=layer.digest, size=layer.size) for layer in blobs]
        return Manifest(
            name=name,
            files=(refs[0],),
            projector=refs[1] if projectors else None,
            adapters=tuple(refs[len(refs) - len(adapters) :]),
            source=Source(kind="registry", ref=ref, repo=repo, quantization=found.quantization, notes=notes),
            license=tuple(texts["license"]),
            template=template,
            system="\n".join(texts["system"]) or None,
            parameters=parameters,
            messages=turns,
        )

    return Plan(name=name, ref=ref, downloads=tuple(_blob(source, name, layer, home) for layer in blobs), finish=finish, notes=notes)


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
    wanted = unknown(home, origin, key=key, size=looked.size)

    async def finish(_: OnEvent) -> Manifest:
        digest = await asyncio.to_thread(digest_of, wanted)
        file = FileRef(digest=digest, size=looked.size, name=origin.shown.rpartition("/")[2])
        source = Source(kind="url", ref=origin.shown, quantization=looked.header.quantization)
        return Manifest(name=name, files=(file,), source=source)

    return Plan(name=name, ref=origin.shown, downloads=(wanted,), finish=finish)


def unknown(home: Path, origin: Origin, *, key: str, size: int) -> Wanted:
    """A GGUF file whose sha256 nobody tells, into the home's blobs.

    :param key: 64 hex digits; others for other bytes, as far as the source can tell.
    """
    return Wanted(
        target=manifests.blob(home, key),
        partials=home / "partials",
        origin=origin,
        checksum=key,
        size=size,
        is_known=False,
        record=home / "cache" / "fetched" / key,
    )


def digest_of(wanted: Wanted) -> str:
    """The sha256 of a GGUF file that was fetched so. It blocks.

    :raises FetchFailed: it is none, or not whole. It is removed.
    :raises Vanished: it was removed since.
    """
    path, removed = wanted_files.place(wanted), f"{wanted.origin.shown} was fetched and has been removed since; pull again"
    if path is None:
        raise Vanished(removed)
    try:
        header.read(path)
    except FileNotFoundError:
        raise Vanished(removed) from None
    except GgufError as error:
        path.unlink()
        raise FetchFailed(f"what was fetched is damaged: {error}; pull again") from None
    return path.name.removeprefix("sha256-")


def _blob(source: Registry, name: ModelName, layer: Layer, home: Path) -> Wanted:
    return Wanted(
        target=manifests.blob(home, layer.digest),
        partials=home / "partials",
        origin=source.origin(name, layer),
        checksum=layer.digest,
        size=layer.size,
    )


def _template(texts: list[str], found: GgufHeader, name: ModelName, way_out: str, *, renderer: object) -> str | None:
    """The file's own Jinja template is the one that the model was trained with; Ollama's, in Go, is a translation of it.

    :param renderer: the code inside Ollama that makes the model's prompts instead of its template; empty: there is none.
    """
    if isinstance(found.metadata.get("tokenizer.chat_template"), str):
        return None
    if renderer:
        raise ConfigError(
            f"{name.display} of the registry cannot be served: its file has no chat template, and its prompts are made by code inside "
            f"Ollama ({renderer}){way_out}"
        )
    if not texts:
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
