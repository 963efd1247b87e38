"""What an engine is, to everything above it.

The API codecs turn request JSON into a `GenerateRequest` and `Delta`s into response bytes; an engine turns the one into the others.
No API knows an engine, and no engine knows an API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from vllama_agent.chat.events import Begun


class FinishReason(StrEnum):
    """Why a generation ended; the words are those of Ollama's `done_reason` and OpenAI's `finish_reason`."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Defaults and names are Ollama's.

    https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx#valid-parameters-and-values
    """

    temperature: float = 0.8
    """0 = greedy."""
    top_k: int = 40
    """0 or below = off."""
    top_p: float = 0.9
    """1 = off."""
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    """Tokens that the penalties look back on; 0 = off, -1 = the whole context."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: int = 0
    """0 = off, 1 or 2 = that version of mirostat instead of top_k, top_p and so on."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    seed: int | None = None
    """None = random; else 0..2**32-1. Same seed, settings and batch width: same text."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit)."""


class ConstraintKind(StrEnum):
    """What the text of a `Constraint` is."""

    JSON_OBJECT = "json_object"
    """Nothing: any JSON object will do."""
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    """In the syntax of Rust's regex crate; the whole answer has to match."""
    LARK = "lark"
    """A context-free grammar in llguidance's dialect of Lark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What an answer has to match. One that is cut by a limit or a stop text is the beginning of one that does."""

    kind: ConstraintKind
    text: str = ""
    field: str
    """Where the request asked for it; errors name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat, as templates see it."""

    role: str
    content: str
    extra: dict[str, Any] = field(default_factory=dict)
    """Other keys a template may read (`tool_name`, `thinking` …), as the API gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the answer to a chat is to be read: what `chat.parsers` needs to know.

    :ivar family: the name of the markup of calls, of `chat.families.FAMILIES`; None = the model was taught none.
    :ivar thought: the name of the markers of thoughts, of `chat.families.THOUGHTS`; None = the model does not think.
    :ivar begun: where in the answer the prompt ends.
    :ivar verbatim: its words are held to a format: once they begin, nothing of them is markup.
    """

    family: str | None
    thought: str | None
    begun: Begun = Begun.NOT
    verbatim: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One answer to be made. Exactly one of `messages`, `prompt` and `prompt_tokens` is given.

    :ivar messages: a chat, rendered by the model's template.
    :ivar prompt: text that is tokenised as it stands, special tokens parsed, BOS added where the model wants one.
    :ivar prompt_tokens: token ids, run as they are.
    :ivar suffix: with `prompt`: the text after the gap (fill in the middle).
    :ivar context: token ids of earlier turns, put before the rendered prompt (Ollama's deprecated `context`).
    :ivar template: a Jinja template instead of the model's, for `messages`.
    :ivar tools: JSON of the tools that a chat offers, as OpenAI writes it: `{"type": "function", "function": {…}}`.
    :ivar must_call: names of the offered tools of which one has to be called, after a thought if the model thinks; () = it decides.
    :ivar parallel_calls: False: at most one call comes of the answer.
    :ivar think: whether the model is to think before it answers a chat, or how hard: low, medium, high, max; None = if it can.
    :ivar stop: texts that end the answer and are not part of it.
    :ivar max_tokens: most tokens to generate; None = until the window is full (or, with `shift`, ten windows).
    :ivar num_ctx: most tokens of prompt and answer, when the caller wants less than the loaded context; more than that is ignored.
    :ivar num_keep: tokens at the start of the prompt that truncation and a context shift keep.
    :ivar truncate: True: drop the oldest messages (or the middle of a prompt) of what does not fit; False: `PromptTooLong`.
    :ivar shift: True: at a full window drop the older half after `num_keep` and go on; False: finish with LENGTH.
    :ivar constraint: what the answer has to match: of a chat, the words for the reader, which come after a thought, or instead of calls.
    :ivar logprobs: report each token's log-probability.
    :ivar top_logprobs: 0..20 alternatives per token.
    :ivar token_ids: whether the ids of prompt and answer are wanted; engines that have them at hand give them anyway.
    """

    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    prompt_tokens: tuple[int, ...] | None = None
    suffix: str | None = None
    context: tuple[int, ...] = ()
    template: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    must_call: tuple[str, ...] = ()
    parallel_calls: bool = True
    think: bool | str | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    num_ctx: int | None = None
    num_keep: int = 4
    truncate: bool = False
    shift: bool = False
    constraint: Constraint | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    token_ids: bool = False


def wider_window(request: GenerateRequest, context_length: int) -> int | None:
    """The window that the request asks for, where it is more than the loaded context. A prompt that it would have held is refused and
    not cut: whoever asked for room must hear that there is none."""
    return request.num_ctx if request.num_ctx is not None and request.num_ctx > context_length else None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its natural-log probability. `token` may hold U+FFFD where `bytes` end inside a character."""

    token: str
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an answer cost. Durations in seconds, counts in tokens."""

    prompt_tokens: int
    """All tokens of the prompt, reused ones included."""
    cached_tokens: int
    """Those of the prompt whose KV cells were reused."""
    generated_tokens: int
    queue_seconds: float = 0.0
    """From submission to the first step that worked on it."""
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    context_shifts: int = 0
    """How often older tokens were dropped to go on generating."""


@dataclass(slots=True)
class Delta:
    """A piece of an answer: one decode step, or several when the reader was slower than the engine."""

    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None
    finish: FinishReason | None = None
    usage: Usage | None = None
    """Present exactly when `finish` is."""
    stop: str | None = None
    """The stop text that ended the answer, if one did."""


class Generation(Protocol):
    """An answer in the making: iterate over its deltas; the last one has `finish` and `usage`.

    Known before the first delta, for the response's headers:

    :ivar prompt_tokens: the ids that are run (after truncation).
    :ivar dropped_tokens: how many tokens of the asked prompt truncation dropped; 0 = none.
    :ivar asked_tokens: tokens of the prompt as asked for.
    :ivar reading: of a chat: how its text is to be read; None = as it stands.
    """

    prompt_tokens: Sequence[int]
    dropped_tokens: int
    asked_tokens: int
    reading: Reading | None

    def __aiter__(self) -> AsyncIterator[Delta]:
        """Deltas until the last.

        :raises EngineFailed: the engine died under this request.
        :raises InvalidRequest: the constraint leaves the answer nowhere to go.
        """
        ...


class EngineState(StrEnum):
    """Where an engine is in its life; transitions stand in `lifecycle.TRANSITIONS`."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    """It died and is started again after a back-off."""
    FAILED = "failed"
    """It could not be loaded; a new load may be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a loaded engine reports about its model. Sizes in bytes."""

    context_length: int
    """Most tokens of one request, prompt and answer together."""
    trained_context: int
    kv_cells: int
    parallel: int
    """Most sequences that decode at once."""
    vocab_size: int
    memory_bytes: int
    """Weights, KV and buffers together."""
    vram_bytes: int
    """The part of it on an accelerator."""
    capabilities: frozenset[str]
    """Subset of completion, insert, vision, embedding (Ollama's words). `tools` and `thinking` are the template's: see `apis.show`."""
    chat_template: str | None
    engine: str
    """Name and version, such as ``llama.cpp (llama-cpp-python 0.3.36)``."""
    ignores: frozenset[str] = frozenset()
    """Options, by Ollama's names, that this engine has nothing for; a reply names those that its request asked for."""
    misplaced: str | None = None
    """What of it runs elsewhere than it was to run, to be put behind the model's name; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A snapshot for metrics and load headers. Totals grow from the engine's start."""

    running: int = 0
    waiting: int = 0
    kv_cells_used: int = 0
    kv_cells_cached: int = 0
    """Of those used: held only by idle prefixes, evictable at once."""
    kv_cells_total: int = 0
    grammars: int = 0
    """Running answers that are held to a grammar."""
    steps_total: int = 0
    prompt_tokens_computed_total: int = 0
    prompt_tokens_reused_total: int = 0
    generated_tokens_total: int = 0
    preemptions_total: int = 0
    context_shifts_total: int = 0
    evicted_cells_total: int = 0
    step_seconds_total: dict[str, float] = field(default_factory=dict)
    """Time per part of a step: schedule, decode, sample, emit."""
    tokens_per_second: float = 0.0
    """Generated tokens per second, averaged over the last few seconds."""


class Engine(Protocol):
    """One loaded (or loadable) model."""

    state: EngineState
    failure: str | None
    """A sentence: why it is RESTARTING or FAILED."""
    facts: ModelFacts | None
    """None until loaded once."""
    progress: str | None
    """How far loading is, where the engine tells."""

    async def load(self) -> None:
        """Start the engine and wait until it answers.

        :raises EngineFailed: it cannot be started; the sentence says why.
        """
        ...

    async def unload(self) -> None:
        """Stop it and every process of it. Requests in flight end with `EngineFailed`."""
        ...

    def generate(self, request: GenerateRequest) -> AbstractAsyncContextManager[Generation]:
        """Render, tokenise and submit; leaving the context cancels what still runs.

        Entering raises:

        :raises InvalidRequest: the template refused the messages, the constraint uses what is not supported, an id is outside the
            vocabulary, insert is not supported …
        :raises PromptTooLong: it does not fit and `truncate` is False.
        :raises EngineFailed: the engine is not there.
        """
        ...

    async def render(self, request: GenerateRequest) -> str:
        """The prompt text of a chat, without running it."""
        ...

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Token ids of a text.

        :param add_special: put BOS and the like around it where the model wants them; a BOS that the text begins with stays the only one.
        :param parse_special: control tokens that are written out are those tokens, and no text.
        """
        ...

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids; control tokens are left out."""
        ...

    def stats(self) -> EngineStats:
        """The newest numbers, without asking the engine."""
        ...
