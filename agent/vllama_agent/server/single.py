"""One request, one answer of several items: how Anthropic's messages and OpenAI's responses are made from an engine's deltas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from vllama_agent.apis import openai_replies, parts
from vllama_agent.apis.replies import Reply
from vllama_agent.engines.base import Engine, GenerateRequest, Generation
from vllama_agent.server import answers
from vllama_agent.server.gate import SERVICE
from vllama_agent.server.sender import Sender
from vllama_core.errors import RequestCancelled

PING_SECONDS = 15.0
"""Of silence, after which a stream says that it is alive: a long prompt may take minutes, and proxies give up after one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is to be answered, and how.

    :ivar model: the stored model's name.
    :ivar started: when the request came, of `time.perf_counter`.
    :ivar ignored: what was asked and is not honoured, which a header names.
    :ivar done: called when the answer is whole, before its end is sent.
    """

    http: web.Request
    model: str
    request: GenerateRequest
    reply: Reply
    stream: bool
    started: float
    ignored: tuple[str, ...]
    done: Callable[[], None] = lambda: None

    async def by(self, engine: Engine) -> web.StreamResponse:
        """Have an engine make it.

        :raises VllamaError: before a byte was sent; later ones are told in the stream.
        """
        headers = {"X-Vllama-Ignored": ", ".join(self.ignored)} if self.ignored else {}
        if not self.stream:
            async with engine.generate(self.request) as generation:
                self.reply.begin(len(generation.prompt_tokens))
                async for _ in self._frames(generation):
                    continue
            return web.Response(body=self.reply.whole(), headers={**headers, "Content-Type": openai_replies.JSON})
        timeout = self.http.app[SERVICE].config.write_timeout
        sender = Sender(self.http, openai_replies.SSE, {**headers, "Cache-Control": "no-cache"}, write_timeout=timeout)
        try:
            async with engine.generate(self.request) as generation:
                await sender.send(self.reply.begin(len(generation.prompt_tokens)))
                async with pinging(sender, self.reply):
                    async for frames in self._frames(generation):
                        await sender.send(frames)
        except Exception as error:
            if not sender.started:
                raise
            with suppress(RequestCancelled):
                if not isinstance(error, RequestCancelled):
                    await sender.send(self.reply.failed(answers.told_mid_stream(error, self.http.path)))
        return sender.response

    async def _frames(self, generation: Generation) -> AsyncIterator[bytes]:
        watch = answers.Watch(self.http.app[SERVICE], self.model, self.started)
        split = parts.of(self.request, generation.reading)
        async for delta in generation:
            watch.saw(delta)
            events = split.split(delta) if split is not None else [parts.Text(delta.text)] if delta.text else []
            frames = self.reply.add(events, len(delta.token_ids))
            if delta.finish is not None:
                frames += self.reply.end(delta)
                self.done()
            if frames:
                yield frames


@asynccontextmanager
async def pinging(sender: Sender, reply: Reply, *, seconds: float = PING_SECONDS) -> AsyncIterator[None]:
    """Send a ping after each silence of so many seconds, until the context is left."""
    if not reply.ping():
        yield
        return

    async def ping() -> None:
        loop = asyncio.get_running_loop()
        # whoever writes the answer will see for himself that the reader is gone
        with suppress(RequestCancelled):
            while True:
                await asyncio.sleep(max(0.0, sender.last_sent + seconds - loop.time()))
                if loop.time() >= sender.last_sent + seconds:
                    await sender.send(reply.ping())

    task = asyncio.create_task(ping(), name="ping")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
