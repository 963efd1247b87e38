"""The MLX engine as the agent sees it: mlx-lm's server, unmodified, in a child process on a port of this machine.

The smallest version that is whole: it serves chats and texts. A server that dies fails the engine, and the next request loads it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from vllama_agent import child_environment
from vllama_agent.engines.base import Delta, EngineState, EngineStats, GenerateRequest, Generation, ModelFacts
from vllama_agent.engines.life import ChildEngine
from vllama_agent.engines.mlx import arguments, body
from vllama_agent.engines.mlx.events import MarkedUp
from vllama_agent.engines.openai_events import Answer, Refused
from vllama_agent.engines.openai_generation import Generated
from vllama_agent.engines.openai_upstream import Upstream
from vllama_agent.engines.process import ending
from vllama_agent.engines.program import Program
from vllama_agent.engines.tally import Tally
from vllama_agent.lifecycle import Event
from vllama_core.errors import ENGINE_STOPPED, EngineFailed, InvalidRequest

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""Between looks whether a starting server answers."""
ANSWER_SECONDS = 5.0
"""For a look: it answers from memory."""
DEATH_SECONDS = 2.0
"""How long a broken answer waits to learn that the server died."""
SAID = 3
"""Of its last lines, how many are told when it dies."""

Launch = Callable[[int], Sequence[str]]
"""The command that starts a server on a port."""


class MlxEngine(ChildEngine[Program]):
    """See `base.Engine`.

    :param facts: what sizing and the model's files tell of it.
    :param load_timeout: seconds until a loading server counts as failed.
    """

    def __init__(self, launch: Launch, *, model: str, facts: ModelFacts, load_timeout: float) -> None:
        super().__init__(owner="MLX server")
        self._launch = launch
        self._model = model
        self._known = facts
        self._load_timeout = load_timeout
        self._program: Program | None = None
        self._upstream: Upstream | None = None
        self._tally = Tally()

    # -- life ---------------------------------------------------------------------------------------------------------------------

    async def _start(self) -> Program:
        """Start the server and wait until it has made one token: it answers before the model is loaded.

        :raises EngineFailed: it died, or took too long.
        """
        port = _free_port()
        self._program = program = await Program.start(
            list(self._launch(port)), environment=child_environment.of_another_program(os.environ), on_line=self._said
        )
        self._upstream = upstream = Upstream(port)
        ended = asyncio.create_task(program.ended(), name="MLX's end")
        answered = asyncio.create_task(self._answers(upstream), name="MLX's first token")
        try:
            async with asyncio.timeout(self._load_timeout):
                await asyncio.wait({ended, answered}, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise EngineFailed(_death(program, ended.result(), f"while loading {self._model}"))
            await answered
        except TimeoutError:
            raise EngineFailed(f"MLX's server took longer than {self._load_timeout:g} s to load {self._model}{_said(program)}") from None
        except Refused as error:
            raise EngineFailed(f"MLX's server cannot load {self._model}: {error}{_said(program)}") from None
        finally:
            ended.cancel()
            answered.cancel()
        self.facts = self._known
        return program

    async def _answers(self, upstream: Upstream) -> None:
        """Until it has answered one request.

        :raises Refused: the model cannot be loaded.
        """
        while True:
            with contextlib.suppress(EngineFailed):  # it does not listen yet
                await upstream.get("/health", seconds=ANSWER_SECONDS)
                break
            await asyncio.sleep(LOOK_SECONDS)
        await upstream.post(body.COMPLETIONS, {"prompt": "a", "max_tokens": 1}, seconds=None)

    async def _own(self, started: Program) -> None:
        """Wait for its end, which nobody asked for."""
        sentence = f"{ENGINE_STOPPED}: {_death(started, await started.ended(), 'while serving')}"
        log.error(sentence)
        self._to(Event.CRASHED, sentence)
        await self._stop()
        self._to(Event.LOAD_FAILED, sentence)

    async def _stop(self) -> None:
        upstream, self._upstream = self._upstream, None
        program, self._program = self._program, None
        if upstream:
            await upstream.close()
        if program:
            await program.stop()

    def _said(self, line: str) -> None:
        log.debug("MLX: %s", line)

    # -- requests -----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        upstream = self._ready()
        body.check(request)
        made = body.body(request, context=self._known.context_length, template=self._known.chat_template)
        with self._tally.counted() as counted:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    events = await stack.enter_async_context(upstream.stream(body.path_of(request), made))
                    answer = Answer(chat=False) if request.messages is None else MarkedUp()
                    generated = Generated(events, answer, on_delta=_timed(counted.saw), why=self._why)
                    generated.reading = body.READING if request.messages is not None else None
                    await generated.begin()
                except Refused as error:
                    raise InvalidRequest(str(error)) from None
                except EngineFailed as error:
                    raise await self._why(error) from None
                yield generated

    async def _why(self, error: EngineFailed) -> EngineFailed:
        """What became of the server, where a broken answer is all that is known."""
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=DEATH_SECONDS)
        return EngineFailed(self.failure) if self.failure else error

    async def render(self, request: GenerateRequest) -> str:
        if request.messages is None:
            return request.prompt or ""
        raise _has_no("tells no rendered prompt")

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        raise _has_no("tells no tokens")

    async def detokenize(self, tokens: Sequence[int]) -> str:
        raise _has_no("takes no tokens")

    def stats(self) -> EngineStats:
        return self._tally.stats(self._known.kv_cells)

    def _ready(self) -> Upstream:
        if self.state is not EngineState.READY or self._upstream is None:
            raise self._not_ready()
        return self._upstream


def _timed(tell: Callable[[Delta], None]) -> Callable[[Delta], None]:
    """The server tells no times: those that the agent sees are put into the last delta."""
    clock = asyncio.get_running_loop().time
    begin, first = clock(), 0.0

    def saw(delta: Delta) -> None:
        nonlocal first
        first = first or clock()
        if delta.usage is not None:
            delta.usage = replace(delta.usage, prefill_seconds=first - begin, decode_seconds=clock() - first)
        tell(delta)

    return saw


def _has_no(what: str) -> InvalidRequest:
    return InvalidRequest(f"mlx-lm's server {what}; the GGUF form of the model on llama.cpp does")


def _free_port() -> int:
    """One that nobody listens on now. Should somebody take it before the server does, the server ends and says so."""
    with socket.socket() as probe:
        probe.bind((arguments.HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _death(program: Program, code: int, when: str) -> str:
    return f"MLX's server ended with {ending(code)} {when}{_said(program)}"


def _said(program: Program) -> str:
    lines = list(program.tail)[-SAID:]
    return f"; it said: {' / '.join(lines)}" if lines else ""
