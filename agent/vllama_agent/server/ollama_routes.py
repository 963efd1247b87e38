"""The native API: generate, chat, and what is known about models."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from vllama_agent.apis import clock, defaults, fields, manage, ollama, ollama_replies, parts, show
from vllama_agent.engines.base import Delta, Engine, Generation, TokenLogprob, wider_window
from vllama_agent.pool import Artifact
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.sender import Sender
from vllama_agent.server.service import Service
from vllama_core.errors import ModelNotFound, RequestCancelled
from vllama_core.modelref import runs_at_ollama

log = logging.getLogger(__name__)


def json_response(value: Any) -> web.Response:
    """A JSON body as Ollama labels it."""
    return web.Response(body=orjson.dumps(value), headers={"Content-Type": ollama_replies.JSON})


async def generate(request: web.Request) -> web.StreamResponse:
    """POST /api/generate."""
    started = time.perf_counter()
    body = await answers.body_of(request)
    artifact = await answers.model_of(request.app[SERVICE], ollama.generate_model(body), fetch=bool(body.get("prompt")))
    return await _Answer(request, ollama.generate(body, defaults.of(artifact)), artifact, started, verb="generate").make()


async def chat(request: web.Request) -> web.StreamResponse:
    """POST /api/chat."""
    started = time.perf_counter()
    body = await answers.body_of(request)
    artifact = await answers.model_of(request.app[SERVICE], ollama.required_model(body), fetch=bool(body.get("messages")))
    return await _Answer(request, ollama.chat(body, defaults.of(artifact)), artifact, started, verb="chat").make()


class _Answer:
    """One request of generate or chat on its way."""

    def __init__(self, request: web.Request, call: ollama.Call, artifact: Artifact, started: float, *, verb: str) -> None:
        self._request = request
        self._service = request.app[SERVICE]
        self._call = call
        self._artifact = artifact
        self._started = started
        self._verb = verb
        self._reply = ollama_replies.Reply(call.model, chat=verb == "chat")
        self._load_seconds = 0.0
        self._calls = 0
        self._headers: dict[str, str] = {}
        self._sender: Sender | None = None

    async def make(self) -> web.StreamResponse:
        artifact = self._artifact
        if self._call.request is None and self._call.keep_alive == 0:
            self._service.pool.unload(artifact)
            return self._whole(self._reply.idle("unload"))
        ollama.require(answers.capabilities(self._service, artifact), self._call, verb=self._verb)
        try:
            call = self._call
            async with answers.engine_for(
                self._service, self._request, artifact, keep_alive=call.keep_alive, num_ctx=call.num_ctx
            ) as engine:
                self._load_seconds = time.perf_counter() - self._started
                return await self._with(engine, artifact)
        except Exception as error:
            sender = self._sender
            if sender is None or not sender.started:
                raise
            with suppress(RequestCancelled):
                if not isinstance(error, RequestCancelled):
                    await sender.send(ollama_replies.error(answers.told_mid_stream(error, self._request.path).message) + b"\n")
            return sender.response

    async def _with(self, engine: Engine, artifact: Artifact) -> web.StreamResponse:
        call = self._call
        facts = engine.facts
        if facts is not None:
            ollama.require(answers.capabilities(self._service, self._artifact, facts), call, verb=self._verb)
        ignored = call.ignored
        if call.request is None:
            return self._whole(self._reply.idle("load"))
        if facts is not None:
            wider = {"num_ctx"} if wider_window(call.request, facts.context_length) else set()
            ignored = (*ignored, *sorted(wider | (call.asked & facts.ignores)))
        if ignored:
            self._headers["X-Vllama-Ignored"] = named = ", ".join(ignored)
            log.debug("options were not honoured", extra={"model": artifact.name, "options": named})  # some clients send them each time
        if call.render_only:
            prompt = call.request.prompt
            return self._whole(self._reply.rendered(await engine.render(call.request) if prompt is None else prompt))
        async with engine.generate(call.request) as generation:
            answers.told_truncation(self._service, artifact.name, generation, self._headers)
            watch = answers.Watch(self._service, artifact.name, self._started)
            return await (self._streamed(generation, watch) if call.stream else self._joined(generation, watch))

    def _whole(self, body: bytes) -> web.Response:
        return web.Response(body=body, headers={**self._headers, "Content-Type": ollama_replies.JSON})

    async def _streamed(self, generation: Generation, watch: answers.Watch) -> web.StreamResponse:
        timeout = self._service.config.write_timeout
        self._sender = sender = Sender(self._request, ollama_replies.NDJSON, self._headers, write_timeout=timeout)
        piece, context = self._reply.piece, list(generation.prompt_tokens) if self._call.gives_context else None
        split = self._split(generation)
        async for delta in generation:
            watch.saw(delta)
            if context is not None:
                context += delta.token_ids
            if split is not None:
                data = self._lines(split, delta)
            else:
                data = piece(delta.text, delta.logprobs) if delta.text or delta.logprobs else b""
            if delta.finish is not None and delta.usage is not None:
                await sender.finish(data + self._reply.final(delta.finish, self._metrics(delta.usage), context=context))
            elif data:
                await sender.send(data)
        return sender.response

    def _split(self, generation: Generation) -> parts.Parts | None:
        return parts.of(self._call.request, generation.reading) if self._call.request is not None else None

    def _lines(self, split: parts.Parts, delta: Delta) -> bytes:
        """A line for each thing that became certain; log-probabilities go with the first."""
        lines = []
        for event in split.split(delta):
            lines.append(self._reply.part(event, self._calls, split.logprobs()))
            self._calls += isinstance(event, parts.Call)
        if delta.finish is not None and (rest := split.logprobs()):
            lines.append(self._reply.piece("", rest))
        return b"".join(lines)

    async def _joined(self, generation: Generation, watch: answers.Watch) -> web.StreamResponse:
        whole, split = parts.Whole(), self._split(generation)
        logprobs: list[TokenLogprob] = []
        context = list(generation.prompt_tokens) if self._call.gives_context else None
        body = b""
        async for delta in generation:
            watch.saw(delta)
            whole.add(split.split(delta) if split is not None else [parts.Text(delta.text)])
            logprobs += delta.logprobs or ()
            if context is not None:
                context += delta.token_ids
            if delta.finish is not None and delta.usage is not None:
                metrics = self._metrics(delta.usage)
                body = self._reply.final(
                    delta.finish,
                    metrics,
                    text=whole.text,
                    thought=whole.thought,
                    calls=whole.calls,
                    context=context,
                    logprobs=logprobs,
                )
        return self._whole(body.rstrip(b"\n"))

    def _metrics(self, usage: Any) -> dict[str, int]:
        total = time.perf_counter() - self._started
        return ollama_replies.metrics(usage, total_seconds=total, load_seconds=self._load_seconds)


async def tags(request: web.Request) -> web.Response:
    """GET /api/tags."""
    # in a thread: the first look at a store of many models reads their headers, for seconds
    pool = request.app[SERVICE].pool
    artifacts = await asyncio.to_thread(pool.models)
    entries = (_entry(artifact) | _tag_extras(artifact, pool.settings_of(artifact).chat_family) for artifact in artifacts)
    return json_response({"models": list(entries)})


def _entry(artifact: Artifact) -> dict[str, Any]:
    return {"name": artifact.name, "model": artifact.name}


def _tag_extras(artifact: Artifact, family: str | None) -> dict[str, Any]:
    return {
        "modified_at": clock.local_text(artifact.modified_at),
        "size": artifact.size,
        "digest": artifact.digest,
        "details": artifact.details(),
        "capabilities": show.capabilities(artifact.brief.metadata, artifact.template, family),
    }


async def ps(request: web.Request) -> web.Response:
    """GET /api/ps."""
    service = request.app[SERVICE]
    loading = [{"name": resident.artifact.name, "progress": resident.told} for resident in service.pool.loading()]
    told = {"loading": loading} if loading else {}
    return json_response({"models": [_loaded(service, resident) for resident in service.pool.present()]} | told)


def _loaded(service: Service, resident: Any) -> dict[str, Any]:
    artifact, facts = resident.artifact, resident.engine.facts
    problem = {"problem": facts.misplaced} if facts and facts.misplaced else {}
    return (
        _entry(artifact)
        | problem
        | {
            "size": facts.memory_bytes if facts else artifact.size,
            "digest": artifact.digest,
            "details": artifact.details(),
            "expires_at": clock.local_text(clock.expiry(service.pool.seconds_left(resident))),
            "size_vram": facts.vram_bytes if facts else 0,
            "context_length": facts.context_length if facts else 0,
        }
    )


async def show_model(request: web.Request) -> web.Response:
    """POST /api/show."""
    body = await answers.body_of(request)
    pool = request.app[SERVICE].pool
    asked, verbose = ollama.required_model(body), fields.flag(body, "verbose", False)
    changes = manage.preview(body)
    try:
        artifact = pool.find(asked)
    except ModelNotFound as error:
        hint = answers.CLOUD if runs_at_ollama(asked) else str(error).partition("not found: ")[2]
        raise ModelNotFound(show.short_name(asked), hint) from None
    resident = pool.resident_of(artifact)
    loaded = resident.engine.facts if resident is not None else None
    shown = show.previewed(artifact, changes)
    guess = show.capabilities(artifact.brief.metadata, artifact.template, pool.settings_of(artifact).chat_family)
    capabilities = sorted(answers.capabilities(request.app[SERVICE], artifact, loaded)) if loaded is not None else guess
    if verbose:
        # in a thread: it reads every array, and a vocabulary of 262,144 entries would hold up all running answers
        info = await asyncio.to_thread(show.show_object, shown, verbose=True, capabilities=capabilities)
    else:
        info = show.show_object(shown, verbose=False, capabilities=capabilities)
    if request.headers.get("User-Agent", "").startswith("GitHubCopilotChat/"):
        info["model_info"]["general.basename"] = asked
    return json_response(info)


async def root(_: web.Request) -> web.Response:
    """GET /: command-line clients look for these words."""
    return web.Response(text="Ollama is running")


async def version(_: web.Request) -> web.Response:
    """GET /api/version: the level of the protocol; our own version is in X-Vllama-Version."""
    return json_response({"version": ollama_replies.VERSION})


async def cloud_status(_: web.Request) -> web.Response:
    """GET /api/status: there is no cloud here."""
    return json_response({"cloud": {"disabled": True, "source": "env"}})


async def recommendations(_: web.Request) -> web.Response:
    """GET /api/experimental/model-recommendations: none."""
    return json_response({"recommendations": []})
