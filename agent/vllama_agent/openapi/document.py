"""The OpenAPI 3.1 description of the routes that are served. Pure: a table in, a document out.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vllama_agent.apis import errors
from vllama_agent.apis.errors import Family
from vllama_agent.openapi import anthropic, common, ollama, openai, responses
from vllama_agent.openapi.schema import Schema, ref

VERSION = "3.1.0"
SCHEMAS: dict[str, Schema] = {**common.SCHEMAS, **ollama.SCHEMAS, **openai.SCHEMAS, **anthropic.SCHEMAS, **responses.SCHEMAS}
JSON, TEXT, NDJSON, SSE, BYTES = "application/json", "text/plain", "application/x-ndjson", "text/event-stream", "application/octet-stream"
ITEM = "x-itemSchema"
PATTERN = re.compile(r"\{(\w+)(?::[^}]*)?\}")
"""A path's parameter, as aiohttp writes it."""
FULL = {Family.OLLAMA: 503, Family.OPENAI: 429, Family.ANTHROPIC: 529}
LIMITED = 429
WORDS = {
    400: "The request cannot be honoured; the message names the field.",
    401: "The API key is missing or not known.",
    403: "The Host or Origin header is not allowed here; no body.",
    404: "There is no such model or blob.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    429: "The key has used what it may, the queue is full, or the server is shutting down.",
    500: "The engine died or cannot be loaded, or the agent has a defect.",
    501: "This route is not served by this version.",
    502: "The place that the model comes from failed, or sent other bytes than it promised.",
    503: "The queue is full, or the server is shutting down.",
    507: "The disk has too little room.",
    529: "The queue is full, or the server is shutting down.",
}
MANAGED = "The Host or Origin header is not allowed here (no body), or the model's owner or this server's operator does not let you in."
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
ANSWER_HEADERS = {
    "X-Vllama-Ignored": {"schema": {"type": "string"}, "description": "Options that were not honoured, with commas."},
    "X-Vllama-Truncated": {"schema": {"type": "string"}, "description": "dropped/asked: the prompt was cut."},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and gives.

    :ivar path: as aiohttp writes it: ``/v1/models/{id:(?s:.+)}``.
    :ivar body: schema of the request's JSON; None = no body is read.
    :ivar reply: schema of a JSON answer; None = text.
    :ivar chunk: (media type, schema of its pieces) where the answer may be a stream.
    :ivar upload: the request's body is bytes.
    :ivar empty: statuses of success that have no body.
    :ivar finds: a model or a blob is looked up.
    :ivar changes: the store is changed.
    :ivar fetches: other servers are asked.
    :ivar probe: needs no key, and is 503 with a reason where the answer is no.
    :ivar absent: answers 501 and nothing else.
    """

    method: str
    path: str
    summary: str
    body: str | None = None
    reply: str | None = None
    chunk: tuple[str, str] | None = None
    upload: bool = False
    empty: tuple[int, ...] = ()
    finds: bool = False
    changes: bool = False
    fetches: bool = False
    probe: bool = False
    absent: bool = False


def document(operations: Iterable[Operation], *, version: str) -> dict[str, Any]:
    """All of it.

    :param version: of vllama.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        methods = paths.setdefault(plain_path(operation.path), {})
        methods[operation.method.lower()] = _head(operation) if operation.method == "HEAD" else _operation(operation)
        if operation.method == "GET":
            methods["head"] = _head(operation)
    return {
        "openapi": VERSION,
        "info": {"title": "vllama", "version": version, "description": "Open language models behind the Ollama and OpenAI APIs."},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "Only where the server has API keys."}},
        },
    }


def plain_path(path: str) -> str:
    """Without the patterns of parameters, which OpenAPI does not know."""
    return PATTERN.sub(r"{\1}", path)


def _operation(operation: Operation) -> dict[str, Any]:
    family = errors.family_of(operation.path)
    made: dict[str, Any] = {
        "operationId": _identifier(operation.method, operation.path),
        "summary": operation.summary,
        "tags": [_tag(operation, family)],
        "responses": _responses(operation, family),
    }
    if parameters := PATTERN.findall(operation.path):
        made["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters]
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(operation.body)}}}
    if operation.upload:
        made["requestBody"] = {"required": True, "content": {BYTES: {}}}
    if operation.probe:
        made["security"] = []
    return made


def _head(operation: Operation) -> dict[str, Any]:
    """Without bodies. aiohttp answers HEAD wherever there is a GET."""
    made = _operation(operation)
    bare = {status: {"description": response["description"]} for status, response in made["responses"].items()}
    return made | {"operationId": _identifier("HEAD", operation.path), "responses": bare}


def _identifier(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", plain_path(path)) or ["root"]
    return "_".join([method.lower(), *words])


def _tag(operation: Operation, family: Family) -> str:
    own = not operation.path.startswith(("/api/", "/v1/")) and operation.path != "/"
    return "vllama" if own else family.value


def _responses(operation: Operation, family: Family) -> dict[str, Any]:
    if operation.absent:
        refusals = [401, 403, 501]
    elif operation.probe:
        return {"200": _text("Yes."), "403": {"description": WORDS[403]}, "503": _text("No; the text says why.")}
    else:
        refusals = [401, 403, 500]
        refusals += [404] * operation.finds
        refusals += [400] * (operation.finds or operation.upload or operation.body is not None)
        refusals += [408] * (operation.upload or operation.body is not None)
        refusals += [413] * (operation.body is not None)
        refusals += [FULL[family]] * (operation.changes or operation.chunk is not None)
        refusals += [LIMITED] * (operation.chunk is not None and not operation.changes)
        refusals += [502] * operation.fetches
        refusals += [507] * operation.changes
    answers = {str(status): {"description": "No body."} for status in operation.empty}
    if not (operation.absent or operation.empty):
        answers["200"] = _answer(operation, family)
    made = answers | {str(status): _refusal(status, family) for status in sorted(set(refusals))}
    if operation.changes:
        made["403"] = {"description": MANAGED, "content": {JSON: {"schema": ref(f"{family.value}Error")}}}
    return made


def _answer(operation: Operation, family: Family) -> dict[str, Any]:
    if operation.reply is None:
        return _text("The answer.")
    answer: dict[str, Any] = {"description": "The answer.", "content": {JSON: {"schema": ref(operation.reply)}}}
    if operation.chunk is not None:
        media_type, schema = operation.chunk
        answer["content"][media_type] = _stream(media_type, schema, family)
        if not operation.changes:
            answer["headers"] = ANSWER_HEADERS
    return answer


def _stream(media_type: str, piece: str, family: Family) -> dict[str, Any]:
    """What a stream is made of. OpenAPI 3.2 has a word for it, `itemSchema`
    (https://spec.openapis.org/oas/v3.2.0#sequential-media-types). In 3.1 tools take the `schema` of server-sent events for that of one
    event. NDJSON as a whole is text to them, and an extension says what a line is."""
    if media_type == NDJSON:
        return {"schema": {"type": "string", "description": "Lines, each of them JSON."}, ITEM: ref(piece)}
    data: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": ref(piece)}
    if family is Family.OPENAI:
        data = {"anyOf": [data, {"const": "[DONE]", "description": "The end of the stream."}]}
    event = {"type": "object", "required": ["data"], "properties": {"event": {"type": "string"}, "data": data}}
    return {"schema": {**event, "description": "One event of the server; its data is JSON."}}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {TEXT: {"schema": {"type": "string"}}}}


def _refusal(status: int, family: Family) -> dict[str, Any]:
    made: dict[str, Any] = {"description": WORDS[status]}
    if status != 403:
        made["content"] = {JSON: {"schema": ref(f"{family.value}Error")}}
    if status in FULL.values():
        made["headers"] = RETRY_AFTER
    return made
