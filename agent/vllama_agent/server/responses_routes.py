"""OpenAI's Responses: make one, and where they are kept, show and delete one."""

from __future__ import annotations

import time

from aiohttp import web

from vllama_agent.apis import defaults, fields, openai_replies, responses, responses_replies
from vllama_agent.apis.errors import NotFound
from vllama_agent.engines.base import Message
from vllama_agent.server import answers, single
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.kept_responses import Kept, owner_of
from vllama_core.errors import InvalidRequest


async def create(request: web.Request) -> web.StreamResponse:
    """POST /v1/responses."""
    started = time.perf_counter()
    service, body = request.app[SERVICE], await answers.body_of(request)
    artifact = await answers.model_of(service, fields.required(body, "model"))
    owner = owner_of(request.headers)

    def earlier(identifier: str) -> tuple[Message, ...]:
        try:
            return service.responses.get(identifier, owner).turns
        except NotFound as error:
            raise InvalidRequest(f"previous_response_id: {error}", field="previous_response_id") from None

    call = responses.create(body, defaults.of(artifact), earlier=earlier if service.responses.most else None)
    call = responses.fitted(answers.capabilities(service, artifact), call)
    async with answers.engine_for(service, request, artifact) as engine:
        if engine.facts is not None:
            call = responses.fitted(answers.capabilities(service, artifact, engine.facts), call)
        reply = responses_replies.Reply(call.model, echo=call.echo, kept=call.keep)

        def keep() -> None:
            if call.keep:
                service.responses.put(reply.id, Kept(owner, reply.whole(), (*call.turns, reply.turn())))

        answer = single.Answer(
            http=request,
            model=artifact.name,
            request=call.request,
            reply=reply,
            stream=call.stream,
            started=started,
            ignored=call.ignored,
            done=keep,
        )
        return await answer.by(engine)


async def show(request: web.Request) -> web.Response:
    """GET /v1/responses/{id}."""
    kept = request.app[SERVICE].responses.get(request.match_info["id"], owner_of(request.headers))
    return web.Response(body=kept.body, headers={"Content-Type": openai_replies.JSON})


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/responses/{id}."""
    identifier = request.match_info["id"]
    request.app[SERVICE].responses.delete(identifier, owner_of(request.headers))
    return web.Response(body=responses_replies.deleted(identifier), headers={"Content-Type": openai_replies.JSON})
