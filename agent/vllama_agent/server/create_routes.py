"""POST /api/create: a new name over an existing model, or over uploaded files."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from aiohttp import web

from vllama_agent.apis import manage
from vllama_agent.server import answers, manage_routes, progress
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.service import Service
from vllama_agent.store import conversion, making
from vllama_agent.store import create as made
from vllama_agent.store import pull as pulling
from vllama_agent.store.create import Changes, Parts
from vllama_agent.store.events import OnEvent, Status
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.errors import ModelNotFound


async def create(request: web.Request) -> web.StreamResponse:
    """POST /api/create."""
    service = request.app[SERVICE]
    manage_routes.check_writable(service)
    call = manage.create(await answers.body_of(request))
    manage_routes.check_name(service, call.model)

    async def work(tell: OnEvent) -> None:
        manifest = await _manifest(service, call, tell)
        for file in manifest.all_files:
            tell(Status(f"using existing layer sha256:{file.digest}"))
        tell(Status("writing manifest"))
        await manage_routes.publish(service, manifest)

    with service.drain.working():
        return await progress.respond(request, work, stream=call.stream)


async def _manifest(service: Service, call: manage.Create, tell: OnEvent) -> Manifest:
    library = service.library
    adapters = await asyncio.to_thread(made.parts_of, library, call.adapters, field="adapters")
    changes = Changes(template=call.template, system=call.system, parameters=call.parameters, messages=call.messages, license=call.license)
    if call.base is not None:
        base = await _base(service, call.base, tell)
        manifest = made.made_from_model(call.model, base, adapters, changes)
    elif making.are_hugging_face(call.files):
        file, notes = await making.converted(library, call.files, name=call.model.model, quantization=call.quantize, on_event=tell)
        quantization = call.quantize or making.UNQUANTIZED
        source = Source(kind="converted", ref=call.model.display, quantization=quantization, converter=conversion.CONVERTER, notes=notes)
        return made.changed(Manifest(name=call.model, files=(file,), adapters=adapters.adapters, source=source), changes)
    else:
        parts = await asyncio.to_thread(made.parts_of, library, call.files, field="files")
        tell(Status("parsing GGUF"))
        manifest = made.made_from_files(call.model, Parts(parts.model, parts.projector, (*parts.adapters, *adapters.adapters)), changes)
    return await _quantized(service, manifest, call.quantize, tell) if call.quantize else manifest


async def _base(service: Service, asked: str, tell: OnEvent) -> Manifest:
    """The model to start from; pulled first where it is not here."""
    name = manage_routes.parsed(asked)
    try:
        return await manage_routes.manifest_of(service, asked, name=name)
    except ModelNotFound:
        if service.sources is None:
            raise
    pulled = await pulling.pull(service.sources, asked, on_event=tell, publish=partial(manage_routes.publish, service))
    return await manage_routes.manifest_of(service, pulled.display, name=pulled)


async def _quantized(service: Service, manifest: Manifest, quantization: str, tell: OnEvent) -> Manifest:
    file: FileRef
    file, notes = await making.quantized(service.library, manifest, quantization=quantization, on_event=tell)
    source = replace(manifest.source, quantization=quantization, notes=(*manifest.source.notes, *notes))
    return replace(manifest, files=(file,), source=source)
