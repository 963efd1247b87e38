"""POST /api/pull: fetch a model, and tell how far it is.

https://github.com/ollama/ollama/blob/main/docs/api.md#pull-a-model
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from vllama_agent.apis import fields, ollama
from vllama_agent.server import answers, manage_routes, progress
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.service import Service
from vllama_agent.store import pull as pulling
from vllama_agent.store.events import OnEvent, Progress, Status
from vllama_core.errors import InvalidRequest, ModelNotFound
from vllama_core.modelref import ModelRef, runs_at_ollama


async def pull(request: web.Request) -> web.StreamResponse:
    """POST /api/pull. A client that leaves ends its pull; what has arrived is kept, and another pull of the model goes on with it."""
    service = request.app[SERVICE]
    body = await answers.body_of(request)
    asked, insecure = ollama.required_model(body), fields.flag(body, "insecure", False)
    stream = fields.flag(body, "stream", True)
    ref = ModelRef.parse(asked)
    if runs_at_ollama(asked):
        raise ModelNotFound(asked, answers.CLOUD)
    if ref.name is None:
        raise InvalidRequest("invalid model name", field="model")  # paths are never taken from the network
    if service.config.managed and _is_here(service, asked):
        return await progress.respond(request, lambda tell: _already_here(service, asked, tell), stream=stream)
    manage_routes.check_writable(service)
    manage_routes.check_name(service, ref.name)

    with service.drain.working():
        return await progress.respond(request, lambda tell: fetch(service, asked, tell, insecure=insecure), stream=stream)


async def fetch(service: Service, asked: str, tell: OnEvent, *, insecure: bool = False) -> None:
    """Bring a model, and give it its name. Errors as `pull.pull`."""
    if service.sources is None:
        raise ModelNotFound(asked, "it is not here, and this server fetches no models")
    publish = partial(manage_routes.publish, service)
    await pulling.pull(service.sources, asked, on_event=tell, insecure=insecure, publish=publish)


def _is_here(service: Service, asked: str) -> bool:
    try:
        service.pool.find(asked)
    except ModelNotFound:
        return False
    return True


async def _already_here(service: Service, asked: str, tell: OnEvent) -> None:
    """The operator brought the model; clients that pull before they use it are told what they expect."""
    artifact = service.pool.find(asked)
    tell(Status("pulling manifest"))
    tell(Progress(artifact.digest, artifact.size, artifact.size, f"pulling {artifact.digest[:12]}"))
