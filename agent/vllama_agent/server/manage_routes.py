"""Copies and deletions of models."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from vllama_agent.apis import manage
from vllama_agent.pool import Artifact
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.service import Service
from vllama_agent.store import create
from vllama_agent.store.manifest import Manifest
from vllama_core import human
from vllama_core.errors import Forbidden, InvalidRequest, ModelNotFound
from vllama_core.modelref import ModelName

log = logging.getLogger(__name__)


def check_writable(service: Service) -> None:
    """Clients may change the store.

    :raises Forbidden: an operator owns this agent.
    """
    if service.config.managed:
        raise Forbidden("an operator owns this agent (VLLAMA_MANAGED=1), so clients cannot change its models; change its LLMServe instead")


async def copy(request: web.Request) -> web.Response:
    """POST /api/copy."""
    service = request.app[SERVICE]
    check_writable(service)
    source, destination = manage.copy(await answers.body_of(request))
    check_name(service, destination)
    with service.drain.working():
        await publish(service, await manifest_of(service, source, name=destination))
    return web.Response()


async def delete(request: web.Request) -> web.Response:
    """DELETE /api/delete."""
    service = request.app[SERVICE]
    check_writable(service)
    asked = manage.delete(await answers.body_of(request))
    artifact, name = service.pool.find(asked), parsed(asked)
    if not service.library.layers.paths_of(name):
        given = service.pool.find(asked)  # which finds nothing where another deletion was quicker
        raise InvalidRequest(
            f"{given.name} is the file {given.place}, which `serve --model` was given; remove the file itself", field="model"
        )
    service.library.own(name)  # before anything is unloaded
    with service.drain.working():
        await service.pool.forget(artifact)
        deleted = await asyncio.to_thread(service.library.delete, name)
    log.info("deleted a model", extra={"model": artifact.name, "freed": human.size(deleted.freed)})
    for path in (*deleted.kept, *deleted.elsewhere):
        log.info("a deleted model's file stays: %s", path, extra={"model": artifact.name})
    return web.Response()


def check_name(service: Service, name: ModelName) -> None:
    """A new model may have this name.

    :raises InvalidRequest: it belongs to a file that `serve --model` was given.
    """
    taken = None if service.library.layers.paths_of(name) else _found(service, name.display)
    if taken is not None:
        raise InvalidRequest(f"{taken.name} is the name of {taken.place}, which `serve --model` was given; choose another", field="model")


async def manifest_of(service: Service, asked: str, *, name: ModelName) -> Manifest:
    """What an existing model is, under another name; in the form that is served.

    :raises ModelNotFound: there is none.
    """
    artifact = service.pool.find(asked)
    stored = await asyncio.to_thread(service.library.layers.manifest, parsed(asked), artifact.form)
    if stored is not None:
        return create.renamed(stored, name)
    return await asyncio.to_thread(create.manifest_of, name, artifact.files, form=artifact.form, license_texts=artifact.license)


async def publish(service: Service, manifest: Manifest) -> None:
    """Give a model its name, and let go of what had it before."""
    pool, name = service.pool, manifest.name.display
    before = _found(service, name)
    older = await asyncio.to_thread(service.library.publish, manifest)
    now = pool.store.find(name)
    pool.renew(now)
    if before is not None and before.engine_key != now.engine_key:
        await pool.release(before)
    if older is not None:
        await asyncio.to_thread(service.library.free, older)


def _found(service: Service, name: str) -> Artifact | None:
    """None: there is no such model, or it is broken, and about to be replaced."""
    try:
        return service.pool.find(name)
    except ModelNotFound:
        return None


def parsed(asked: str) -> ModelName:
    """A name that was looked up, and so is one.

    :raises InvalidRequest: it is none.
    """
    name = ModelName.parse(asked)
    if name is None:
        raise InvalidRequest("invalid model name", field="model")
    return name
