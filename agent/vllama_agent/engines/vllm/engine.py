"""The vLLM engine as the agent sees it: starts, watches and restarts the server, and speaks its API over a private socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from vllama_agent.engines.base import EngineState, EngineStats, GenerateRequest, Generation, ModelFacts
from vllama_agent.engines.life import ChildEngine
from vllama_agent.engines.openai_events import Answer, Refused
from vllama_agent.engines.openai_generation import Generated
from vllama_agent.engines.tally import Counted, Tally
from vllama_agent.engines.vllm import body, explain, folder, holding, version
from vllama_agent.engines.vllm.folder import Folder
from vllama_agent.engines.vllm.prompts import Prompt, Prompts
from vllama_agent.engines.vllm.server import Launch, Server
from vllama_agent.lifecycle import Event
from vllama_core.errors import ENGINE_STOPPED, EngineFailed, InvalidRequest, VllamaError

log = logging.getLogger(__name__)

T = TypeVar("T")

BACK_OFF = (0.5, 2.0, 5.0, 15.0, 30.0)
"""Seconds before each restart of a server that died; after as many failures in a row the engine is FAILED."""
STEADY_SECONDS = 120.0
"""A server that lived this long did not die of its start: the back-off begins anew."""


class VllmEngine(ChildEngine[Server]):
    """See `base.Engine`.

    :param load_timeout: seconds until a loading server counts as failed.
    :param memory: bytes that sizing reckoned with, host and GPUs together.
    :param gpu_memory: those of GPUs.
    :param family: see `config.LoadConfig.chat_family`.
    """

    def __init__(self, launch: Launch, *, load_timeout: float, memory: int = 0, gpu_memory: int = 0, family: str | None = None) -> None:
        super().__init__(owner="vLLM server")
        self._launch = launch
        self._load_timeout = load_timeout
        self._memory = memory
        self._gpu_memory = gpu_memory
        self._family = family
        self._server: Server | None = None
        self._prompts: Prompts | None = None
        self._cells = 0
        self._tally = Tally()

    # -- life ---------------------------------------------------------------------------------------------------------------------

    async def _start(self) -> Server:
        """Start the server and wait until it has answered a request.

        :raises EngineFailed: it died, or took too long.
        """
        found = await asyncio.to_thread(folder.read, self._launch.model)
        self.progress = "starting vLLM"
        self._server = server = await Server.start(self._launch, on_line=self._said)
        try:
            async with asyncio.timeout(self._load_timeout):
                await server.answers()
                told, model = await server.identity()
        except TimeoutError:
            late = f"vLLM took longer than {self._load_timeout:g} s to load {self._launch.model.name}"
            raise EngineFailed(f"{late}; the last that it told: {self.progress}") from None
        if version.differs(told):
            log.warning("vLLM %s runs here; this version of vllama was tested with %s", told, version.PINNED)
        self.facts = self._facts(found, told, model)
        self._prompts = Prompts(server.upstream, found, context=self.facts.context_length, family=self._family)
        self.progress = None
        return server

    def _facts(self, found: Folder, told: str, model: dict[str, Any]) -> ModelFacts:
        return ModelFacts(
            context_length=model["max_model_len"],
            trained_context=found.context or model["max_model_len"],
            kv_cells=self._cells,
            parallel=self._launch.settings.sequences,
            vocab_size=found.vocabulary,
            memory_bytes=self._memory,
            vram_bytes=self._gpu_memory,
            capabilities=frozenset({"completion", "insert"} if found.fill_in_middle else {"completion"}),
            chat_template=found.template,
            engine=f"vLLM {told}",
            ignores=body.IGNORES,
        )

    async def _own(self, started: Server) -> None:
        """Watch the server; start another one when it dies or hangs."""
        server, failures, loop = started, 0, asyncio.get_running_loop()
        while True:
            begin = loop.time()
            sentence = f"{ENGINE_STOPPED}: {await server.watched(self._tally.saw)}"
            if loop.time() - begin > STEADY_SECONDS:
                failures = 0
            self._to(Event.CRASHED, f"{sentence}; it is being restarted")
            log.error("%s; restarting. Its last lines:\n%s", sentence, "\n".join(server.last_lines))
            while True:
                await self._stop()
                if failures >= len(BACK_OFF):
                    self._to(Event.LOAD_FAILED, f"{sentence}; {failures} restarts did not help")
                    return
                # spread out, so that many agents on one machine do not all load at once
                await asyncio.sleep(BACK_OFF[failures] * random.uniform(0.8, 1.2))
                failures += 1
                try:
                    server = await self._start()
                    break
                except EngineFailed as error:
                    log.error("restart %d failed: %s", failures, error)
            self._to(Event.LOADED)
            log.warning("vLLM is back after %d restart(s)", failures)

    async def _stop(self) -> None:
        server, self._server = self._server, None
        self._prompts, self.progress = None, None
        if server:
            await server.stop()
        self._tally.restarted()

    def _said(self, line: str) -> None:
        """A line of its output: read for progress, and in our log where somebody wants all of it."""
        log.debug("vLLM: %s", line)
        if self.state is not EngineState.READY:
            self.progress = explain.progress(line) or self.progress
            self._cells = explain.kv_cells(line) or self._cells

    # -- requests -----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        server, prompts = self._ready()
        prompts.check(request)
        with self._tally.counted() as counted:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    generated = await self._submitted(stack, server, prompts, request, counted)
                except Refused as error:
                    raise _invalid(error, request) from None
                except EngineFailed as error:
                    raise await self._why(server, error) from None
                yield generated

    async def _submitted(
        self, stack: contextlib.AsyncExitStack, server: Server, prompts: Prompts, request: GenerateRequest, counted: Counted
    ) -> Generated:
        """The answer, once its first token is there; a prompt that is too long is cut where the request allows it."""
        try:
            return await self._open(stack, server, await prompts.make(request), request, counted)
        except Refused as error:
            if not _is_too_long(error):
                raise
        return await self._open(stack, server, await prompts.cut(request), request, counted)

    async def _open(
        self, stack: contextlib.AsyncExitStack, server: Server, prompt: Prompt, request: GenerateRequest, counted: Counted
    ) -> Generated:
        assert self.facts is not None, "it was loaded once"
        assert self._prompts is not None, "it was ready"
        prompts, chat = self._prompts, prompt.path == body.CHAT
        rest = body.sampling(request, context=self.facts.context_length, chat=chat, running=self._tally.active)
        events = await stack.enter_async_context(server.upstream.stream(prompt.path, {**prompt.body, **rest}))
        generated = Generated(
            events,
            Answer(chat=chat, top=request.top_logprobs),
            prompt_tokens=prompt.tokens,
            asked=prompt.asked,
            dropped=prompt.dropped,
            on_delta=counted.saw,
            why=lambda error: self._why(server, error),
        )
        rendered = await generated.begin()
        generated.reading = prompts.reading(request, prompt.rendered or rendered)
        if prompt.dropped:
            log.info("dropped %d of %d prompt tokens to fit %d", prompt.dropped, prompt.asked, self.facts.context_length)
        return generated

    async def _why(self, server: Server, error: EngineFailed) -> EngineFailed:
        found = await server.why(error)
        return found if str(found).startswith(ENGINE_STOPPED) else EngineFailed(f"{ENGINE_STOPPED}: {found}")

    async def render(self, request: GenerateRequest) -> str:
        if request.messages is None:
            return request.prompt or ""
        return await self._asked(self._ready()[1].render(request))

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """vLLM always parses special tokens: `parse_special` changes nothing here."""
        return await self._asked(self._ready()[1].tokenize(text, add_special=add_special))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return await self._asked(self._ready()[1].detokenize(tokens, special=False))

    def stats(self) -> EngineStats:
        return self._tally.stats(self.facts.kv_cells if self.facts is not None else 0)

    def _ready(self) -> tuple[Server, Prompts]:
        if self.state is not EngineState.READY or self._server is None or self._prompts is None:
            raise self._not_ready()
        return self._server, self._prompts

    async def _asked(self, asking: Coroutine[Any, Any, T]) -> T:
        try:
            return await asking
        except Refused as error:
            raise InvalidRequest(str(error)) from None


def _is_too_long(error: Refused) -> bool:
    """Also when the prompt fills the window to its last token: then vLLM finds that 0 tokens are asked for."""
    return error.parameter in ("input_tokens", "input_text", "max_tokens")


def _invalid(error: Refused, request: GenerateRequest) -> VllamaError:
    """A refusal, in words for the client."""
    if error.status >= 500:
        return EngineFailed(str(error))
    field = holding.field_of(request)
    if field is not None and error.parameter is None:
        return InvalidRequest(f"{field} cannot be honoured: {error}", field=field)
    return InvalidRequest(str(error), field=error.parameter)
