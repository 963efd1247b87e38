"""Plans for models of OCI registries: GGUF layers into the home's blobs as they are, archives unpacked there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from vllama_agent.store import archives, manifests, oci_layers
from vllama_agent.store.events import OnEvent, Status
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_agent.store.oci import Artifact
from vllama_agent.store.oci_layers import Layer, Model
from vllama_agent.store.plans import Plan, had_before
from vllama_agent.store.wanted import Wanted
from vllama_core import architectures
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName
from vllama_core.storageref import OciRef


async def plan(artifact: Artifact, place: OciRef, *, name: ModelName, home: Path) -> Plan:
    """What an artifact leads to. A GGUF layer's header is read before anything is fetched; an archive's only after it.

    :raises ModelNotFound: there is no such artifact.
    :raises ConfigError: it holds no model that can be served.
    :raises FetchFailed: it cannot be looked at.
    """
    model = oci_layers.model(await artifact.layers(), shown=str(place))
    licenses = tuple([await artifact.text(layer) for layer in model.licenses])
    source = Source(kind="oci", ref=str(place), repo=f"{place.registry}/{place.repository}", revision=artifact.digest)
    if model.archives:
        return _unpacked(artifact, model, source, name=name, home=home, license_texts=licenses)
    found = await artifact.header(model.files[0])
    why = architectures.refusal(found)
    if why is not None:
        raise ConfigError(f"{place} cannot be served: {why}")
    template = await artifact.text(model.templates[-1]) if model.templates else None
    blobs = [*model.files, *([model.projector] if model.projector else [])]

    async def finish(_: OnEvent) -> Manifest:
        refs = [FileRef(digest=layer.digest, size=layer.size, name=layer.name or None) for layer in blobs]
        return Manifest(
            name=name,
            files=tuple(refs[: len(model.files)]),
            projector=refs[-1] if model.projector else None,
            source=replace(source, quantization=found.quantization),
            license=licenses,
            template=template,
        )

    downloads = tuple(_wanted(artifact, layer, manifests.blob(home, layer.digest), home) for layer in blobs)
    return Plan(name=name, ref=str(place), downloads=downloads, finish=finish)


def _wanted(artifact: Artifact, layer: Layer, target: Path, home: Path) -> Wanted:
    return Wanted(target=target, partials=home / "partials", origin=artifact.origin(layer), checksum=layer.digest, size=layer.size)


def _unpacked(artifact: Artifact, model: Model, source: Source, *, name: ModelName, home: Path, license_texts: tuple[str, ...]) -> Plan:
    """The archives lie beside the downloads until they are unpacked; what was in them before is not fetched again."""
    known = had_before(home, name, source.revision)
    if known is not None and archives.are_here(home, known):

        async def reuse(_: OnEvent) -> Manifest:
            return known

        return Plan(name=name, ref=source.ref, downloads=(), finish=reuse)

    fetched = [home / "partials" / f"{layer.digest}.tar" for layer in model.archives]

    async def finish(on_event: OnEvent) -> Manifest:
        on_event(Status("unpacking"))
        found = await archives.unpack(fetched, home=home, shown=source.ref)
        for file in fetched:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        return Manifest(name=name, files=found.files, projector=found.projector, source=source, license=license_texts)

    downloads = tuple(_wanted(artifact, layer, target, home) for layer, target in zip(model.archives, fetched, strict=True))
    return Plan(name=name, ref=source.ref, downloads=downloads, finish=finish)
