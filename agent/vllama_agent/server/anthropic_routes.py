"""The Anthropic routes: messages, and the count of a prompt's tokens."""

from __future__ import annotations

import time

from aiohttp import web

from vllama_agent.apis import anthropic, anthropic_replies, defaults, fields, openai_replies
from vllama_agent.server import answers, single
from vllama_agent.server.gate import SERVICE


async def messages(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages."""
    started = time.perf_counter()
    service, body = request.app[SERVICE], await answers.body_of(request)
    artifact = await answers.model_of(service, fields.required(body, "model"))
    call = anthropic.fitted(answers.capabilities(service, artifact), anthropic.messages(body, defaults.of(artifact)))
    async with answers.engine_for(service, request, artifact) as engine:
        if engine.facts is not None:
            call = anthropic.fitted(answers.capabilities(service, artifact, engine.facts), call)
        reply = anthropic_replies.Reply(
            call.model, max_tokens=call.request.max_tokens or 0, sequences=call.sequences, shows_thoughts=call.shows_thoughts
        )
        answer = single.Answer(
            http=request,
            model=artifact.name,
            request=call.request,
            reply=reply,
            stream=call.stream,
            started=started,
            ignored=call.ignored,
        )
        return await answer.by(engine)


async def count_tokens(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages/count_tokens."""
    service, body = request.app[SERVICE], await answers.body_of(request)
    model = fields.required(body, "model")
    artifact = await answers.model_of(service, model)
    call = anthropic.Call(model=model, request=anthropic.prompt(body, defaults.of(artifact)), stream=False)
    call = anthropic.fitted(answers.capabilities(service, artifact), call)
    async with answers.engine_for(service, request, artifact) as engine:
        tokens = await engine.tokenize(await engine.render(call.request))
    return web.Response(body=anthropic_replies.count(len(tokens)), headers={"Content-Type": openai_replies.JSON})
