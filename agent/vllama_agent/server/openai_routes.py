"""The OpenAI routes: models, chat completions and completions."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import orjson
from aiohttp import web

from vllama_agent.apis import defaults, fields, openai, openai_replies, parts
from vllama_agent.apis.openai_replies import Choice
from vllama_agent.engines.base import Delta, Engine, GenerateRequest, Generation
from vllama_agent.pool import Artifact
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.sender import Sender
from vllama_core.errors import RequestCancelled

BACKLOG = 64
"""Pieces of several answers that may wait for their reader before the answers wait too."""


async def chat(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    started = time.perf_counter()
    body = await answers.body_of(request)
    artifact = await answers.model_of(request.app[SERVICE], fields.required(body, "model"))
    return await _Answer(request, openai.chat(body, defaults.of(artifact)), artifact, started, chat=True).make()


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    started = time.perf_counter()
    body = await answers.body_of(request)
    artifact = await answers.model_of(request.app[SERVICE], fields.required(body, "model"))
    return await _Answer(request, openai.completions(body, defaults.of(artifact)), artifact, started, chat=False).make()


class _Answer:
    """One request on its way: as many generations as prompts times `n`, told apart by index."""

    def __init__(self, request: web.Request, call: openai.Call, artifact: Artifact, started: float, *, chat: bool) -> None:
        self._request = request
        self._service = request.app[SERVICE]
        self._call = call
        self._started = started
        self._reply = openai_replies.Reply(call.model, chat=chat, include_usage=call.include_usage, alternatives=call.alternatives)
        self._wanted = [(prompt, _nth(request, turn)) for prompt, request in enumerate(call.requests) for turn in range(call.n)]
        self._choices = [Choice(prompt) for prompt, _ in self._wanted]
        self._sender: Sender | None = None
        self._artifact = artifact
        self._model = artifact.name

    async def make(self) -> web.StreamResponse:
        openai.require(answers.capabilities(self._service, self._artifact), self._call.model, self._call.requests)
        try:
            async with answers.engine_for(self._service, self._request, self._artifact, answers=len(self._wanted)) as engine:
                if engine.facts is not None:
                    able = answers.capabilities(self._service, self._artifact, engine.facts)
                    openai.require(able, self._call.model, self._call.requests)
                return await (self._streamed(engine) if self._call.stream else self._joined(engine))
        except* Exception as group:
            error = first_of(group)
        return await self._failed(error)

    async def _failed(self, error: BaseException) -> web.StreamResponse:
        sender = self._sender
        if sender is None or not sender.started:
            raise error
        with suppress(RequestCancelled):
            if not isinstance(error, RequestCancelled):
                await sender.send(openai_replies.error_frames(answers.told_mid_stream(error, self._request.path)))
        return sender.response

    async def _joined(self, engine: Engine) -> web.StreamResponse:
        async def collect(index: int) -> None:
            choice = self._choices[index]
            async with engine.generate(self._wanted[index][1]) as generation:
                watch = answers.Watch(self._service, self._model, self._started)
                whole, split = parts.Whole(), self._split(index, generation)
                async for delta in generation:
                    watch.saw(delta)
                    whole.add(split.split(delta) if split is not None else [parts.Text(delta.text)])
                    choice.logprobs += delta.logprobs or ()
                    choice.finish, choice.usage = delta.finish, delta.usage
                choice.text, choice.thought, choice.calls = [whole.text], [whole.thought], whole.calls

        async with asyncio.TaskGroup() as tasks:
            for index in range(len(self._wanted)):
                tasks.create_task(collect(index), name=f"choice {index}")
        return web.Response(body=self._reply.whole(self._choices), headers={"Content-Type": openai_replies.JSON})

    async def _streamed(self, engine: Engine) -> web.StreamResponse:
        self._sender = sender = Sender(
            self._request, openai_replies.SSE, {"Cache-Control": "no-cache"}, write_timeout=self._service.config.write_timeout
        )
        last = b""
        if len(self._wanted) == 1:
            last = await self._stream_one(engine, sender)
        else:
            await self._stream_many(engine, sender)
        usage = self._reply.usage(self._choices) if self._call.include_usage else b""
        await sender.finish(last + usage + openai_replies.DONE)
        return sender.response

    async def _stream_one(self, engine: Engine, sender: Sender) -> bytes:
        """Its last frames, which are not sent yet: they go with the end."""
        last = b""
        async with engine.generate(self._wanted[0][1]) as generation:
            watch = answers.Watch(self._service, self._model, self._started)
            split = self._split(0, generation)
            async for delta in generation:
                watch.saw(delta)
                data = self._frames(0, delta, split)
                if delta.finish is not None:
                    last = data
                elif data:
                    await sender.send(data)
        return last

    async def _stream_many(self, engine: Engine, sender: Sender) -> None:
        """Every generation is a task; one reader writes what they make, in the order it comes."""
        backlog: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)

        async def relay(index: int) -> None:
            async with engine.generate(self._wanted[index][1]) as generation:
                watch = answers.Watch(self._service, self._model, self._started)
                split = self._split(index, generation)
                async for delta in generation:
                    watch.saw(delta)
                    await backlog.put(self._frames(index, delta, split))

        async def write() -> None:
            while True:
                data = await backlog.get()
                if data:
                    await sender.send(data)
                backlog.task_done()

        async with asyncio.TaskGroup() as outer:
            writer = outer.create_task(write(), name="write")
            async with asyncio.TaskGroup() as inner:
                for index in range(len(self._wanted)):
                    inner.create_task(relay(index), name=f"choice {index}")
            await backlog.join()
            writer.cancel()

    def _split(self, index: int, generation: Generation) -> parts.Parts | None:
        return parts.of(self._wanted[index][1], generation.reading)

    def _frames(self, index: int, delta: Delta, split: parts.Parts | None) -> bytes:
        choice = self._choices[index]
        data = b""
        if split is not None:
            data = b"".join(self._reply.part(index, choice, event, split.logprobs()) for event in split.split(delta))
            if delta.finish is not None and (rest := split.logprobs()):
                data += self._reply.piece_with_logprobs(index, choice, "", rest)
        elif delta.logprobs:
            data = self._reply.piece_with_logprobs(index, choice, delta.text, delta.logprobs)
        elif delta.text:
            data = self._reply.piece(index, delta.text)
        if delta.finish is not None:
            choice.finish, choice.usage = delta.finish, delta.usage
            data += self._reply.finish(index, delta.finish, called=bool(choice.calls))
        return data


def _nth(request: GenerateRequest, turn: int) -> GenerateRequest:
    """The same request once more: with a fixed seed each answer gets its own, or all would be the same."""
    seed = request.sampling.seed
    if seed is None or not turn:
        return request
    return replace(request, sampling=replace(request.sampling, seed=(seed + turn) & 0xFFFFFFFF))


def first_of(error: BaseException) -> BaseException:
    """The first cause in groups of errors: several answers of one request mostly fail for one reason."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def models(request: web.Request) -> web.Response:
    """GET /v1/models."""
    artifacts = await asyncio.to_thread(request.app[SERVICE].pool.models)
    entries = (openai_replies.model(artifact.name, int(artifact.modified_at.timestamp())) for artifact in artifacts)
    return web.Response(body=openai_replies.models(entries), headers={"Content-Type": openai_replies.JSON})


async def model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}, where the id may hold slashes."""
    artifact = request.app[SERVICE].pool.find(request.match_info["id"])
    entry = openai_replies.model(artifact.name, int(artifact.modified_at.timestamp()))
    return web.Response(body=orjson.dumps(entry), headers={"Content-Type": openai_replies.JSON})
