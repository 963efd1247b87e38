"""Continuous batching: which rows the next step computes, and what its results mean. Pure: no library, no clock, no I/O.

Each step holds one decode row for every answer that is streaming, then as much prefill as the step's time budget allows, shortest
remaining prompt first with ageing. Where rows of both kinds cost more in one call than in two (`RowShape`), they take turns within the
same budget. A request is WAITING, in PREFILL or in DECODE; when cells run out idle prefixes go first, then the youngest request goes
back to WAITING with its tokens kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from vllama_agent.engines.base import FinishReason
from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.prefix_cache import Cache
from vllama_agent.engines.llama_cpp.radix import Tokens, common_prefix
from vllama_agent.engines.llama_cpp.textstream import TextStream

WORTH_WAITING = 64
"""Tokens of a prefix that must be gained for a request to wait until another has computed it."""
MIN_CHUNK = 16
"""Prefill rows of a step even when its budget is spent: a long prompt always goes on."""
SLOW_STEPS = 2.0
"""Where decoding alone takes most of the budget, a step with prefill may last so many times a decode step: on a slow or busy machine
a long prompt would else go on by `MIN_CHUNK` rows a step, for minutes."""
HEADROOM = 16
"""Cells kept for each running answer when another request is admitted, so that admission does not cause preemption at once."""


class State(Enum):
    """Where a request stands."""

    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    DONE = auto()


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
    num_keep: int = 0
    shift: bool = False
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
    prefilling: list[tuple[Request, int]]
    """(request, rows of its prompt in this step)."""


@dataclass(slots=True)
class Output:
    """What one request got from a step."""

    request: Request
    token: int
    text: str
    finish: FinishReason | None


@dataclass(slots=True)
class Totals:
    """Counters since the start."""

    steps: int = 0
    prompt_computed: int = 0
    prompt_reused: int = 0
    generated: int = 0
    preemptions: int = 0
    context_shifts: int = 0


class Scheduler:
    """See the module. The caller runs `plan`, the decode call, sampling, then `commit`; `submit` and `cancel` between steps."""

    def __init__(
        self,
        cache: Cache,
        costs: StepCosts,
        *,
        max_rows: int,
        step_budget: float,
        shape: RowShape,
        is_end: Callable[[int], bool],
        piece: Callable[[int], bytes],
    ) -> None:
        """
        :param max_rows: most rows of one step (a micro-batch).
        :param step_budget: seconds between two tokens of the answers that are streaming.
        :param shape: which rows go well together.
        :param is_end: whether a token ends a generation.
        :param piece: the bytes of a token.
        """
        self._cache = cache
        self._costs = costs
        self._max_rows = max_rows
        self._budget = step_budget
        self._shape = shape
        self._is_end = is_end
        self._piece = piece
        self._requests: dict[int, Request] = {}
        self._waiting: list[Request] = []
        self._prefill: list[Request] = []
        self._decode: list[Request] = []
        self._now = 0.0
        self._decoded_last = False
        self.totals = Totals()

    # -- requests -----------------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return len(self._prefill) + len(self._decode)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, request: Request) -> None:
        """Queue a request; the next step considers it."""
        request.prompt_tokens = len(request.tokens)
        request.array = np.array(request.tokens, np.int32)
        self._requests[request.id] = request
        self._waiting.append(request)

    def cancel(self, request_id: int) -> bool:
        """Forget a request in any state; its cells are free at once. False if it is not here (any more)."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        self._leave(request)
        if request.sequence >= 0:
            # what was computed stays useful: people stop an answer and go on with the chat
            self._end_sequence(request, self._now)
        request.state = State.DONE
        return True

    def pause(self, request_id: int, paused: bool) -> None:
        """Stop or resume computing an answer whose reader is behind."""
        if request := self._requests.get(request_id):
            request.paused = paused

    # -- planning -----------------------------------------------------------------------------------------------------------------

    def plan(self, now: float) -> Step | None:
        """The rows of the next step; None when there is nothing to compute."""
        self._now = now
        if self._waiting:
            self._admit(now)
        decoding = [request for request in self._decode if not request.paused]
        prefilling = self._choose_prefill(len(decoding), now) if self._prefill else []
        if decoding and prefilling and not self._shape.mixes:
            decoding, prefilling = ([], prefilling) if self._decoded_last else (decoding, [])
        need = len(decoding) + sum(rows for _, rows in prefilling)
        if need > self._cache.free and not self._make_room(need):
            return self.plan(now)  # somebody was preempted: choose again
        if need == 0:
            return None
        self._decoded_last = bool(decoding)
        return _step(decoding, prefilling)

    def make_room(self, rows: int) -> None:
        """The library found no cells although we count some as free: evict, else preempt."""
        if not self._cache.evict(rows):
            self._preempt(self._youngest())

    def _admit(self, now: float) -> None:
        still: list[Request] = []
        for index, request in enumerate(self._waiting):
            if self._waits_for_prefix(request):
                still.append(request)
            elif self._cache.has_sequence and self._has_room(request):
                self._start(request, now)
            else:
                still.extend(self._waiting[index:])
                break
        self._waiting = still

    def _start(self, request: Request, now: float) -> None:
        request.sequence, request.computed = self._cache.acquire(request.array, now)
        if request.cached_tokens < 0:
            request.cached_tokens = request.computed
            request.started = now
            self.totals.prompt_reused += request.computed
        request.state = State.PREFILL
        self._prefill.append(request)

    def _has_room(self, request: Request) -> bool:
        if self.running == 0:
            return True  # alone, everything idle can go, and no request is larger than the pool
        need = request.remaining + 1 - self._cache.match(request.array) + HEADROOM * (self.running + 1)
        # cells promised to prompts that are being prefilled are not free any more
        need += sum(other.remaining for other in self._prefill)
        return need <= self._cache.free or need <= self._cache.free + self._cache.idle

    def _waits_for_prefix(self, request: Request) -> bool:
        leader = request.waits_for
        if leader is not None:
            if leader.state is State.PREFILL and leader.computed < request.waits_until:
                return True
            request.waits_for = None
        if not self._prefill or not self._cache.shares_running:
            return False
        have = self._cache.match(request.array)
        for other in self._prefill:
            shared = min(common_prefix(request.array, other.array), len(request.tokens) - 1)
            if shared - max(have, other.computed) >= WORTH_WAITING:
                request.waits_for, request.waits_until = other, shared
                return True
        return False

    def _choose_prefill(self, decode_rows: int, now: float) -> list[tuple[Request, int]]:
        rows = self._max_rows - decode_rows
        if decode_rows:
            budget = max(self._budget, SLOW_STEPS * self._costs.decode_seconds(decode_rows))
            affordable = self._costs.prefill_rows(decode_rows=decode_rows, budget=budget)
            rows = min(rows, max(MIN_CHUNK, self._shape.rounded(affordable)))
        # seconds of work left minus seconds of age: short prompts first, but nobody waits for ever
        per_row = self._costs.seconds_per_prefill_row
        chosen = []
        for request in sorted(self._prefill, key=lambda r: r.remaining * per_row - (now - r.arrival)):
            if rows <= 0:
                break
            if request.paused:
                continue
            count = min(request.remaining, rows)
            chosen.append((request, count))
            rows -= count
        return chosen

    def _make_room(self, need: int) -> bool:
        """Free cells for `need` rows; False when somebody had to be preempted for it."""
        self._cache.evict(need - self._cache.free)
        if need <= self._cache.free:
            return True
        self._preempt(self._youngest())
        return False

    def _youngest(self) -> Request:
        return max(self._prefill + self._decode, key=lambda r: (r.arrival, r.id))

    def _preempt(self, request: Request) -> None:
        self._leave(request)
        self._cache.drop(request.sequence)
        request.sequence, request.computed = -1, 0
        request.array = np.array(request.tokens, np.int32)
        request.state = State.WAITING
        self._waiting.append(request)
        self._waiting.sort(key=lambda r: (r.arrival, r.id))
        self.totals.preemptions += 1

    # -- results ------------------------------------------------------------------------------------------------------------------

    def commit(self, step: Step, sampled: list[int], *, now: float, seconds: float) -> list[Output]:
        """Take in a step's results.

        :param sampled: one token for each of `step.outputs`.
        :param seconds: how long the step took.
        """
        prefill_rows = 0
        cache = self._cache
        for request in step.decoding:
            request.computed += 1
        cache.decoded([request.sequence for request in step.decoding])
        for request, rows in step.prefilling:
            request.computed += rows
            prefill_rows += rows
            cache.computed_prompt(request.sequence, request.array[: request.computed], now)
            if request.remaining == 0:
                self._prefill.remove(request)
                self._decode.append(request)
                request.state = State.DECODE
        self._costs.observe(decode_rows=len(step.decoding), prefill_rows=prefill_rows, seconds=seconds)
        self.totals.steps += 1
        self.totals.prompt_computed += prefill_rows
        self.totals.generated += len(sampled)
        return [self._advance(request, token, now) for request, token in zip(step.outputs, sampled, strict=True)]

    def _advance(self, request: Request, token: int, now: float) -> Output:
        if not request.generated:
            request.first_token = now
        request.generated += 1
        if self._is_end(token):
            return self._finish(request, token, request.text.finish(), FinishReason.STOP, now)
        text = request.text.push(self._piece(token))
        if request.text.stopped:
            return self._finish(request, token, text, FinishReason.STOP, now)
        request.tokens.append(token)
        if request.generated >= request.max_tokens:
            return self._finish(request, token, text + request.text.finish(), FinishReason.LENGTH, now)
        if len(request.tokens) >= request.limit:
            if not request.shift:
                return self._finish(request, token, text + request.text.finish(), FinishReason.LENGTH, now)
            self._shift(request)
        return Output(request, token, text, None)

    def _finish(self, request: Request, token: int, text: str, reason: FinishReason, now: float) -> Output:
        self._leave(request)
        del self._requests[request.id]
        self._end_sequence(request, now)
        request.state = State.DONE
        return Output(request, token, text, reason)

    def _shift(self, request: Request) -> None:
        """Drop the older half after `num_keep` and prefill the rest again: shared cells cannot be moved to other positions."""
        keep = max(0, min(request.num_keep, request.limit // 2))
        dropped = (len(request.tokens) - keep) // 2
        request.tokens = request.tokens[:keep] + request.tokens[keep + dropped :]
        request.array = np.array(request.tokens, np.int32)
        request.computed = self._cache.truncate(request.sequence, keep)
        request.context_shifts += 1
        self.totals.context_shifts += 1
        self._decode.remove(request)
        self._prefill.append(request)
        request.state = State.PREFILL

    def _end_sequence(self, request: Request, now: float) -> None:
        if request.computed:
            self._cache.release(request.sequence, np.array(request.tokens[: request.computed], np.int32), now)
        else:
            self._cache.drop(request.sequence)
        request.sequence = -1

    def _leave(self, request: Request) -> None:
        match request.state:
            case State.WAITING:
                self._waiting.remove(request)
            case State.PREFILL:
                self._prefill.remove(request)
            case State.DECODE:
                self._decode.remove(request)
            case State.DONE:
                pass


def _step(decoding: list[Request], prefilling: list[tuple[Request, int]]) -> Step:
    width = len(decoding)
    total = width + sum(rows for _, rows in prefilling)
    tokens, positions = np.empty(total, np.int32), np.empty(total, np.int32)
    sequences, wants_logits = np.empty(total, np.int32), np.zeros(total, np.int8)
    tokens[:width] = [request.tokens[-1] for request in decoding]
    positions[:width] = [request.computed for request in decoding]
    sequences[:width] = [request.sequence for request in decoding]
    wants_logits[:width] = 1
    outputs, at = list(decoding), width
    for request, rows in prefilling:
        begin, end = request.computed, request.computed + rows
        tokens[at : at + rows] = request.array[begin:end]
        positions[at : at + rows] = np.arange(begin, end, dtype=np.int32)
        sequences[at : at + rows] = request.sequence
        at += rows
        if end == len(request.tokens):
            wants_logits[at - 1] = 1
            outputs.append(request)
    return Step(tokens, positions, sequences, wants_logits, outputs, decoding, prefilling)
