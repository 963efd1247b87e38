"""A request on its way through the scheduler, the rows of one step, and what a request gets from it. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vllama_agent.engines.base import FinishReason
from vllama_agent.engines.llama_cpp.radix import Tokens
from vllama_agent.engines.llama_cpp.textstream import TextStream


class State(Enum):
    """Where a request stands."""

    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    DONE = auto()


class Grammar(Protocol):
    """What holds an answer to a form, as far as the scheduler sees it; the sampler sees which tokens it allows."""

    @property
    def complete(self) -> bool:
        """Nothing may follow any more: the answer ends without an end token."""
        ...

    def advance(self, token: int, most: int) -> Sequence[int]:
        """The answer goes on with `token`.

        :returns: tokens, at most `most`, that are the only ones that can follow; they count as taken too.
        """
        ...


@dataclass(slots=True, eq=False)
class Request:
    """One answer in the making. Token counts throughout; times are seconds of the caller's clock.

    :ivar tokens: prompt and answer so far; a context shift cuts it.
    :ivar computed: how many of them have KV cells.
    :ivar limit: most tokens of prompt and answer.
    """

    id: int
    tokens: list[int]
    limit: int
    arrival: float
    max_tokens: int
    text: TextStream
    markers: dict[int, bytes] = field(default_factory=dict)
    """Control tokens that its text shows, with their bytes: whoever reads the answer needs them."""
    num_keep: int = 0
    shift: bool = False
    grammar: Grammar | None = None
    state: State = State.WAITING
    sequence: int = -1
    computed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = -1
    """Reused tokens of the prompt at its first admission; -1 = not admitted yet."""
    generated: int = 0
    context_shifts: int = 0
    paused: bool = False
    """The reader is behind: no rows until it has caught up."""
    started: float = 0.0
    first_token: float = 0.0
    waits_for: Request | None = None
    waits_until: int = 0
    array: Tokens = field(default_factory=lambda: np.empty(0, np.int32))
    """`tokens` as an array while they are prefilled."""

    @property
    def remaining(self) -> int:
        """Rows until the next token can be sampled."""
        return len(self.tokens) - self.computed


@dataclass(slots=True)
class Step:
    """Rows of one decode call. `outputs` are the requests whose rows ask for logits, in row order."""

    tokens: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    sequences: npt.NDArray[np.int32]
    wants_logits: npt.NDArray[np.int8]
    outputs: list[Request]
    decoding: list[Request]
    forced: list[tuple[Request, int]]
    """(request, rows in this step) of those whose newest tokens a grammar forced."""
    prefilling: list[tuple[Request, int]]
    """(request, rows of its prompt in this step)."""


@dataclass(slots=True)
class Output:
    """What one request got from a step."""

    request: Request
    token: int
    text: str
    finish: FinishReason | None


def rows_of(decoding: list[Request], forced: list[tuple[Request, int]], prefilling: list[tuple[Request, int]]) -> Step:
    """The rows of a step: the newest token of each that decodes, then so many forced tokens, then so many tokens of each prompt; the
    last token that a request has asks for logits."""
    width = len(decoding)
    total = width + sum(rows for _, rows in forced) + sum(rows for _, rows in prefilling)
    tokens, positions = np.empty(total, np.int32), np.empty(total, np.int32)
    sequences, wants_logits = np.empty(total, np.int32), np.zeros(total, np.int8)
    tokens[:width] = [request.tokens[-1] for request in decoding]
    positions[:width] = [request.computed for request in decoding]
    sequences[:width] = [request.sequence for request in decoding]
    wants_logits[:width] = 1
    outputs, at = list(decoding), width
    for request, rows in (*forced, *prefilling):
        begin, end = request.computed, request.computed + rows
        tokens[at : at + rows] = request.array[begin:end] if request.state is State.PREFILL else request.tokens[begin:end]
        positions[at : at + rows] = np.arange(begin, end, dtype=np.int32)
        sequences[at : at + rows] = request.sequence
        at += rows
        if end == len(request.tokens):
            wants_logits[at - 1] = 1
            outputs.append(request)
    return Step(tokens, positions, sequences, wants_logits, outputs, decoding, forced, prefilling)
