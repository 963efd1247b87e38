"""Every route of the agent, in one table: who answers, and what /openapi.json says about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from aiohttp import web

from vllama_agent.apis.errors import NotHere
from vllama_agent.openapi.document import NDJSON, SSE, Operation, document
from vllama_agent.server import (
    anthropic_routes,
    blob_routes,
    create_routes,
    manage_routes,
    ollama_routes,
    openai_routes,
    probes,
    pull_routes,
    responses_routes,
    token_routes,
)
from vllama_agent.server.gate import SERVICE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LATER = {
    "POST": ("/api/embed /api/embeddings /v1/embeddings /v1/rerank /v1/audio/transcriptions"),
}
NEVER = {
    "POST": "/api/push /api/me /api/signout /api/web_search /api/web_fetch /api/experimental/web_search /api/experimental/web_fetch",
    "DELETE": "/api/user/keys/{key}",
}
NOT_YET = "{path} is not yet supported by this version of vllama"
NOT_OURS = "{path} belongs to ollama.com's accounts and registry, and is not supported by vllama"


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table."""

    handler: Handler
    operation: Operation


def _row(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Route:
    return Route(handler, Operation(method=method, path=path, summary=summary, **more))


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return web.Response(body=_described(request.app[SERVICE].version), content_type="application/json")


@cache
def _described(version: str) -> bytes:
    return orjson.dumps(document((route.operation for route in ROUTES), version=version))


def _absent() -> Iterator[Route]:
    for sentence, table in ((NOT_YET, LATER), (NOT_OURS, NEVER)):
        for method, paths in table.items():
            for path in paths.split():
                told = sentence.format(path=path)
                yield _row(method, path, _refuse(told), told, absent=True)


def _refuse(told: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        raise NotHere(told)

    return answer


ROUTES: tuple[Route, ...] = (
    _row("GET", "/", ollama_routes.root, "Say that the server runs"),
    _row("GET", "/api/version", ollama_routes.version, "Level of Ollama's protocol", reply="Version"),
    _row("GET", "/api/tags", ollama_routes.tags, "List the models", reply="Tags"),
    _row("GET", "/api/ps", ollama_routes.ps, "List the loaded models", reply="Loaded"),
    _row("GET", "/api/status", ollama_routes.cloud_status, "Say that there is no cloud", reply="CloudStatus"),
    _row("GET", "/api/experimental/model-recommendations", ollama_routes.recommendations, "None", reply="Recommendations"),
    _row("POST", "/api/show", ollama_routes.show_model, "Tell what a model is", body="ShowRequest", reply="ShowReply", finds=True),
    _row("POST", "/api/generate", ollama_routes.generate, "Continue a prompt; load or unload a model",
         body="GenerateRequest", reply="GenerateReply", chunk=(NDJSON, "GenerateReply"), finds=True),
    _row("POST", "/api/chat", ollama_routes.chat, "Answer a chat",
         body="ChatRequest", reply="ChatReply", chunk=(NDJSON, "ChatReply"), finds=True),
    _row("POST", "/api/pull", pull_routes.pull, "Fetch a model",
         body="PullRequest", reply="Success", chunk=(NDJSON, "ProgressLine"), finds=True, changes=True, fetches=True),
    _row("POST", "/api/create", create_routes.create, "Make a model of another one or of uploaded files",
         body="CreateRequest", reply="Success", chunk=(NDJSON, "ProgressLine"), finds=True, changes=True, fetches=True),
    _row("POST", "/api/copy", manage_routes.copy, "Give a model another name", body="CopyRequest", empty=(200,), finds=True, changes=True),
    _row("DELETE", "/api/delete", manage_routes.delete, "Delete a model", body="DeleteRequest", empty=(200,), finds=True, changes=True),
    _row("HEAD", "/api/blobs/{digest}", blob_routes.exists, "Are these bytes here?", empty=(200,), finds=True),
    _row("POST", "/api/blobs/{digest}", blob_routes.store, "Upload bytes for /api/create: 201 = stored, 200 = they were here",
         upload=True, empty=(200, 201), changes=True),
    _row("GET", "/v1/models", openai_routes.models, "List the models", reply="Models"),
    _row("GET", "/v1/models/{id:(?s:.+)}", openai_routes.model, "One model", reply="Model", finds=True),
    _row("POST", "/v1/chat/completions", openai_routes.chat, "Answer a chat",
         body="ChatCompletionRequest", reply="ChatCompletion", chunk=(SSE, "ChatCompletionChunk"), finds=True),
    _row("POST", "/v1/completions", openai_routes.completions, "Continue a prompt",
         body="CompletionRequest", reply="Completion", chunk=(SSE, "CompletionChunk"), finds=True),
    _row("POST", "/v1/responses", responses_routes.create, "Answer a chat",
         body="ResponseRequest", reply="Response", chunk=(SSE, "ResponseEvent"), finds=True),
    _row("GET", "/v1/responses/{id}", responses_routes.show, "A response that is kept", reply="Response", finds=True),
    _row("DELETE", "/v1/responses/{id}", responses_routes.delete, "Forget a response", reply="DeletedResponse", finds=True),
    _row("POST", "/v1/messages", anthropic_routes.messages, "Answer a chat",
         body="MessagesRequest", reply="MessagesReply", chunk=(SSE, "MessagesEvent"), finds=True),
    _row("POST", "/v1/messages/count_tokens", anthropic_routes.count_tokens, "Count the tokens of a chat's prompt",
         body="CountTokensRequest", reply="TokenCount", finds=True),
    _row("POST", "/tokenize", token_routes.tokenize, "Cut a text or a chat's prompt into tokens",
         body="TokenizeRequest", reply="TokenizeReply", finds=True),
    _row("POST", "/detokenize", token_routes.detokenize, "The text of tokens",
         body="DetokenizeRequest", reply="DetokenizeReply", finds=True),
    _row("GET", "/livez", probes.livez, "Does the process answer?", probe=True),
    _row("GET", "/readyz", probes.readyz, "May requests be sent?", probe=True),
    _row("GET", "/startupz", probes.startupz, "Is the first load over?", probe=True),
    _row("GET", "/metrics", probes.metrics, "Prometheus' exposition"),
    _row("GET", "/load", probes.load, "The signals of X-Vllama-Load, and the same per model", reply="Load"),
    _row("GET", "/openapi.json", openapi, "This description", reply="Document"),
    *_absent(),
)  # fmt: skip


def definitions() -> list[web.RouteDef]:
    """The table as aiohttp takes it. A GET also answers HEAD."""
    return [
        web.get(route.operation.path, route.handler)
        if route.operation.method == "GET"
        else web.route(route.operation.method, route.operation.path, route.handler)
        for route in ROUTES
    ]
