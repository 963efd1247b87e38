"""Stand-ins that tests and benchmarks share: an engine that computes nothing, a store of one file, and a server on a free port."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from vllama_agent.engines.base import (
    Delta,
    EngineState,
    EngineStats,
    FinishReason,
    GenerateRequest,
    Generation,
    ModelFacts,
    Reading,
    TokenLogprob,
    Usage,
    wider_window,
)
from vllama_agent.lifecycle import Event, after
from vllama_agent.store.artifact import Artifact
from vllama_agent.store.holds import Hold
from vllama_core.config import AgentConfig
from vllama_core.errors import EngineFailed, InvalidRequest, ModelNotFound, PromptTooLong
from vllama_core.gguf import GgufHeader, Tensor
from vllama_core.model_form import Form
from vllama_core.sizing.shape import Layer, ModelShape, Weights

BOS = 256
WORDS = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".")
FACTS = ModelFacts(
    context_length=4096,
    trained_context=32768,
    kv_cells=16384,
    parallel=64,
    vocab_size=257,
    memory_bytes=300_000_000,
    vram_bytes=0,
    capabilities=frozenset({"completion"}),
    chat_template=None,
    engine="fake 1",
)


@dataclass
class FakeEngine:
    """Implements `Engine` without a model: tokens are bytes, answers are the same ten words from a place that the seed decides.

    :ivar pieces: what every answer is made of, repeated until a limit; its length is the answer's length where none is given.
    :ivar delay: seconds before each piece.
    :ivar gate: while it is clear, no piece comes.
    :ivar load_gate: while it is clear, loading goes on.
    :ivar load_error: loading fails with this sentence.
    :ivar reading: how the answers to chats are to be read.
    :ivar crash_after: the engine dies when an answer has so many pieces.
    """

    pieces: Sequence[str] = WORDS
    facts: ModelFacts | None = FACTS
    delay: float = 0.0
    gate: asyncio.Event | None = None
    load_gate: asyncio.Event | None = None
    load_error: str | None = None
    crash_after: int | None = None
    reading: Reading | None = None
    state: EngineState = EngineState.STOPPED
    failure: str | None = None
    progress: str | None = None
    requests: list[GenerateRequest] = field(default_factory=list)
    """Every request that was submitted."""
    running: int = 0
    cancelled: int = 0
    generated: int = 0
    loads: int = 0

    async def load(self) -> None:
        """Become ready, or fail as told."""
        self.state = after(self.state, Event.LOAD)
        self.loads += 1
        if self.load_gate is not None:
            await self.load_gate.wait()
        if self.load_error is not None:
            self.state, self.failure = after(self.state, Event.LOAD_FAILED), self.load_error
            raise EngineFailed(self.load_error)
        self.state = after(self.state, Event.LOADED)

    async def unload(self) -> None:
        """Stop."""
        if self.state is not EngineState.STOPPED:
            self.state = after(self.state, Event.UNLOAD)

    async def render(self, request: GenerateRequest) -> str:
        """Roles in angle brackets; a template is used as a prefix."""
        turns = "".join(f"<{message.role}>{message.content}" for message in request.messages or ())
        return f"{request.template or ''}{turns}<assistant>"

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """The bytes, after a BOS."""
        return [BOS] * add_special + list(text.encode())

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Bytes to text."""
        return bytes(token for token in tokens if token < BOS).decode("utf-8", "replace")

    def stats(self) -> EngineStats:
        """Counts of what happened here."""
        assert self.facts is not None, "the fake always has facts"
        used = min(self.running * 100, self.facts.kv_cells)
        return EngineStats(
            running=self.running,
            kv_cells_used=used,
            kv_cells_total=self.facts.kv_cells,
            generated_tokens_total=self.generated,
            step_seconds_total={"decode": 0.5, "sample": 0.25},
        )

    @asynccontextmanager
    async def generate(self, request: GenerateRequest) -> AsyncIterator[Generation]:
        """Submit; leaving before the last delta counts as cancelled."""
        if self.state is not EngineState.READY:
            raise EngineFailed(self.failure or f"the engine is {self.state}")
        self.requests.append(request)
        asked = await self._prompt(request)
        generation = FakeGeneration(self, request, *self._fitted(request, asked))
        self.running += 1
        try:
            yield generation
        finally:
            self.running -= 1
            self.cancelled += not generation.finished

    async def _prompt(self, request: GenerateRequest) -> list[int]:
        if request.prompt_tokens is not None:
            for token in request.prompt_tokens:
                if token > BOS:
                    raise InvalidRequest(f"token {token} is outside the vocabulary", field="prompt")
            return list(request.prompt_tokens)
        text = request.prompt if request.prompt is not None else await self.render(request)
        return [*request.context, *await self.tokenize(text, add_special=not request.context)]

    def _fitted(self, request: GenerateRequest, asked: list[int]) -> tuple[list[int], int]:
        assert self.facts is not None, "the fake always has facts"
        window = min(request.num_ctx or self.facts.context_length, self.facts.context_length)
        if len(asked) < window:
            return asked, len(asked)
        wider = wider_window(request, self.facts.context_length)
        if not request.truncate or (wider and len(asked) < wider):
            raise PromptTooLong(prompt_tokens=len(asked), context=window, asked=wider)
        return asked[: request.num_keep] + asked[len(asked) - window // 2 + request.num_keep :], len(asked)

    def crash(self) -> None:
        """Die; nobody restarts a fake."""
        self.state, self.failure = after(self.state, Event.CRASHED), "it was told to crash"


class FakeGeneration:
    """An answer of the fake."""

    def __init__(self, engine: FakeEngine, request: GenerateRequest, prompt: list[int], asked: int) -> None:
        self._engine = engine
        self._request = request
        self.prompt_tokens: Sequence[int] = prompt
        self.asked_tokens = asked
        self.dropped_tokens = asked - len(prompt)
        self.reading = engine.reading if request.messages is not None else None
        self.finished = False
        self.stop: str | None = None
        """The stop text that cuts the answer."""

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """One delta per piece, the last with the usage."""
        engine, made = self._engine, 0
        for made, (text, finish) in enumerate(self._texts(), 1):
            await asyncio.sleep(engine.delay)  # also for 0: no engine answers without letting others run
            if engine.gate is not None:
                await engine.gate.wait()
            if engine.state is not EngineState.READY or made == engine.crash_after:
                if engine.state is EngineState.READY:
                    engine.crash()
                raise EngineFailed(engine.failure or "the engine was unloaded")
            engine.generated += 1
            self.finished = finish is not None
            stop = self.stop if finish else None
            yield Delta(text, list(text.encode()), self._logprobs(text), finish, self._usage(made) if finish else None, stop)

    def _texts(self) -> Iterator[tuple[str, FinishReason | None]]:
        """Pieces until the limit or a stop text; stop texts that span pieces are found too."""
        limit = self._request.max_tokens
        count = len(self._engine.pieces) if limit is None else limit
        start = (self._request.sampling.seed or 0) % len(self._engine.pieces)
        chosen = list(itertools.islice(itertools.cycle(self._engine.pieces), start, start + count))
        whole = "".join(chosen)
        found = min(((whole.find(stop), stop) for stop in self._request.stop if stop in whole), default=None)
        self.stop = found[1] if found else None
        end = FinishReason.STOP if found or limit is None else FinishReason.LENGTH
        left = found[0] if found else len(whole)
        for index, piece in enumerate(chosen):
            last = left <= len(piece) and (found is not None or index == len(chosen) - 1)
            yield piece[:left] if last else piece, end if last else None
            if last:
                return
            left -= len(piece)

    def _logprobs(self, text: str) -> list[TokenLogprob] | None:
        if not self._request.logprobs:
            return None
        top = tuple(TokenLogprob(f"alt{i}", f"alt{i}".encode(), -1.0 - i) for i in range(self._request.top_logprobs))
        return [TokenLogprob(text, text.encode(), -0.5, top)]

    def _usage(self, made: int) -> Usage:
        return Usage(
            prompt_tokens=len(self.prompt_tokens),
            cached_tokens=0,
            generated_tokens=made,
            queue_seconds=0.001,
            prefill_seconds=0.01,
            decode_seconds=0.002 * made,
        )


HEADER = GgufHeader(
    version=3,
    metadata={
        "general.architecture": "gemma3",
        "general.name": "left out",
        "general.file_type": 15,
        "gemma3.context_length": 32768,
        "gemma3.embedding_length": 640,
        "tokenizer.ggml.tokens": ["a", "b", "c", "d", "e", "f"],
    },
    tensors=(
        Tensor("token_embd.weight", (640, 262144), "Q8_0", offset=0, size=178_257_920),
        Tensor("output_norm.weight", (640,), "F32", offset=178_257_920, size=2560),
    ),
    data_start=4096,
)

SHAPE = ModelShape(
    architecture="gemma3",
    parameters=167_772_160,
    context=32768,
    vocabulary=256,
    embedding=640,
    feed_forward=2048,
    heads=4,
    query=1024,
    layers=(Layer(),) * 18,
    weights=Weights(layers=(3_000_000,) * 18, embedding=187_000_000, output=0),
    quantization="Q4_K_M",
)
"""Of a model that keeps nothing of its tokens: what it takes does not depend on its context."""


@dataclass(frozen=True, kw_only=True)
class FakeArtifact(Artifact):
    """A stored model without a file."""

    files: tuple[Path, ...] = (Path("/models/fake.gguf"),)
    size: int = 241_000_000
    fake_shape: ModelShape = SHAPE
    modified_at: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    @cached_property
    def header(self) -> GgufHeader:
        """The same for all."""
        return HEADER

    @property
    def shape(self) -> ModelShape:
        """The same for all, unless a test says otherwise."""
        return self.fake_shape

    def hold(self) -> Hold:
        """Of nothing."""
        return Hold(())


class FakeStore:
    """A store of named models."""

    def __init__(self, *names: str) -> None:
        digests = (hashlib.sha256(name.encode()).hexdigest() for name in names)
        self._artifacts = {
            name: FakeArtifact(name=name, digest=digest, files=(Path("/models") / f"{digest}.gguf",))
            for name, digest in zip(names, digests, strict=True)
        }

    def add(self, artifact: FakeArtifact) -> None:
        """One more, or another one of that name."""
        self._artifacts[artifact.name] = artifact

    def models(self) -> list[FakeArtifact]:
        """All of them."""
        return list(self._artifacts.values())

    def find(self, name: str) -> FakeArtifact:
        """By name, without case, `latest` implied."""
        if " " in name:
            raise InvalidRequest("invalid model name", field="model")
        for known, artifact in self._artifacts.items():
            if name.lower() in (known.lower(), known.lower().removesuffix(":latest")):
                return artifact
        raise ModelNotFound(name)

    def resolve(self, ref: str, form: Form | None = None) -> FakeArtifact:
        """As `find`."""
        return self.find(ref)


@dataclass
class Served:
    """A server on a free port.

    :ivar engine: the one engine that all models share, unless `make_engine` was given.
    """

    url: str
    service: Any
    engine: FakeEngine


@asynccontextmanager
async def serving(
    engine: FakeEngine | None = None,
    *,
    store: Any = None,
    sources: Any = None,
    make_engine: Callable[[Any, Any], Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """The real server over a fake engine, bound to a port that the system chooses.

    :param sources: where models are fetched from; None = nowhere.
    :param settings: of `AgentConfig`.
    """
    from vllama_agent import server

    shared = engine or FakeEngine()
    config = AgentConfig(**{"port": 0, **settings})
    service = server.make_service(
        config, store=store or FakeStore("m:latest"), make_engine=make_engine or (lambda *_: shared), sources=sources
    )
    async with server.running(service, host=config.host, port=config.port) as (runner, _):
        host, port = runner.addresses[0][:2]
        yield Served(f"{service.scheme}://{host}:{port}", service, shared)


async def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait until something is so.

    :raises TimeoutError: it did not come about.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is waited for is often another process's or library's state, which has no event
            await asyncio.sleep(0.001)
