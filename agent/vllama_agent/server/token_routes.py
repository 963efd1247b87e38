"""/tokenize and /detokenize."""

from __future__ import annotations

from aiohttp import web

from vllama_agent.apis import defaults, fields, openai_replies, tokens
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_core.errors import InvalidRequest


async def tokenize(request: web.Request) -> web.Response:
    """POST /tokenize."""
    service, body = request.app[SERVICE], await answers.body_of(request)
    artifact = await answers.model_of(service, fields.required(body, "model"))
    call = tokens.tokenize(body, defaults.of(artifact))
    async with answers.engine_for(service, request, artifact) as engine:
        text = call.text if call.text is not None else await engine.render(call.chat) if call.chat is not None else ""
        found = await engine.tokenize(text, add_special=call.add_special, parse_special=call.parse_special)
        length = engine.facts.context_length if engine.facts is not None else None
    return web.Response(body=tokens.tokens(found, context_length=length), headers={"Content-Type": openai_replies.JSON})


async def detokenize(request: web.Request) -> web.Response:
    """POST /detokenize."""
    service, body = request.app[SERVICE], await answers.body_of(request)
    artifact = await answers.model_of(service, fields.required(body, "model"))
    ids = tokens.detokenize(body)
    async with answers.engine_for(service, request, artifact) as engine:
        size = engine.facts.vocab_size if engine.facts is not None else 0
        if beyond := next((token for token in ids if token >= size), None):
            raise InvalidRequest(f"tokens: token id {beyond} is outside the vocabulary (0 to {size - 1})", field="tokens")
        found = await engine.detokenize(ids)
    return web.Response(body=tokens.text(found), headers={"Content-Type": openai_replies.JSON})
