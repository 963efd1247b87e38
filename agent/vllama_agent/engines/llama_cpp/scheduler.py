"""Continuous batching: who runs, and what the results of a step mean. Pure: no library, no clock, no I/O.

Which rows of those that run a step holds, `rows` decides. A request is WAITING, in PREFILL or in DECODE; when cells run out idle
prefixes go first, then the youngest request goes back to WAITING with its tokens kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vllama_agent.engines.base import FinishReason
from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.prefix_cache import Cache
from vllama_agent.engines.llama_cpp.radix import common_prefix
from vllama_agent.engines.llama_cpp.request import Grammar, Output, Request, State, Step, rows_of
from vllama_agent.engines.llama_cpp.rows import RowChooser

WORTH_WAITING = 64
"""Tokens of a prefix that must be gained for a request to wait until another has computed it."""
HEADROOM = 16
"""Cells kept for each running answer when another request is admitted, so that admission does not cause preemption at once."""


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
        self._rows = RowChooser(costs, shape, max_rows=max_rows, budget=step_budget)
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
            self._displace_paused(now)
        while True:
            chosen = self._rows.choose(self._decode, self._prefill, now=now, after_decoding=self._decoded_last)
            need = chosen.count
            if need <= self._cache.free or self._make_room(need):
                break  # else somebody was preempted
        if need == 0:
            return None
        self._decoded_last = bool(chosen.decoding or chosen.forced)
        return rows_of(chosen.decoding, chosen.forced, chosen.prefilling)

    def make_room(self, rows: int) -> None:
        """The library found no cells although we count some as free: evict, else preempt."""
        if not self._cache.evict(rows):
            self._preempt(self._youngest())

    def _admit(self, now: float) -> None:
        still: list[Request] = []
        for index, request in enumerate(self._waiting):
            if request.paused or self._waits_for_prefix(request):
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
        # cells promised to prompts that are being prefilled, and to tokens that were forced, are not free any more
        need += sum(other.remaining for other in self._prefill) + sum(other.remaining - 1 for other in self._decode)
        return need <= self._cache.free or need <= self._cache.free + self._cache.idle_beside(request.array)

    def _displace_paused(self, now: float) -> None:
        """Where nothing can be computed because every reader is behind, their answers make place for those that wait."""
        while not all(request.paused for request in self._waiting) and self.running and all(r.paused for r in self._all_running()):
            request = self._youngest()
            self._leave(request)
            self._end_sequence(request, now)  # kept as an idle prefix: it goes on from there unless the cells are needed
            self._wait_again(request)
            self._admit(now)

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

    def _make_room(self, need: int) -> bool:
        """Free cells for `need` rows; False when somebody had to be preempted for it."""
        self._cache.evict(need - self._cache.free)
        if need <= self._cache.free:
            return True
        self._preempt(self._youngest())
        return False

    def _all_running(self) -> Iterator[Request]:
        return itertools.chain(self._prefill, self._decode)

    def _youngest(self) -> Request:
        """Of those whose readers are behind, else of all: it is set back first."""
        return max(self._all_running(), key=lambda r: (r.paused, r.arrival, r.id))

    def _preempt(self, request: Request) -> None:
        self._leave(request)
        self._cache.drop(request.sequence)
        self._wait_again(request)
        self.totals.preemptions += 1

    def _wait_again(self, request: Request) -> None:
        """It has lost its sequence, and keeps its tokens and its turn."""
        request.sequence, request.computed = -1, 0
        request.array = np.array(request.tokens, np.int32)
        request.state = State.WAITING
        self._waiting.append(request)
        self._waiting.sort(key=lambda r: (r.arrival, r.id))

    # -- results ------------------------------------------------------------------------------------------------------------------

    def commit(self, step: Step, sampled: Sequence[int | None], *, now: float, seconds: float) -> list[Output]:
        """Take in a step's results.

        :param sampled: one token for each of `step.outputs`; None: it cannot go on, which cancels it.
        :param seconds: how long the step took.
        :returns: one output for each token, those of a request in their order.
        """
        prefill_rows = 0
        cache = self._cache
        for request in step.decoding:
            request.computed += 1
        cache.decoded([request.sequence for request in step.decoding])
        decode_rows = len(step.decoding)
        for request, rows in step.forced:
            request.computed += rows
            decode_rows += rows
            cache.decoded([request.sequence] * rows)
        for request, rows in step.prefilling:
            request.computed += rows
            prefill_rows += rows
            cache.computed_prompt(request.sequence, request.array[: request.computed], now)
            if request.remaining == 0:
                self._prefill.remove(request)
                self._decode.append(request)
                request.state = State.DECODE
        self._costs.observe(decode_rows=decode_rows, prefill_rows=prefill_rows, seconds=seconds)
        self.totals.steps += 1
        self.totals.prompt_computed += prefill_rows
        outputs: list[Output] = []
        for request, token in zip(step.outputs, sampled, strict=True):
            if token is None:
                self.cancel(request.id)
            elif request.grammar is None or self._is_end(token):
                outputs.append(self._advance(request, token, now))
            else:
                outputs += self._advance_by_grammar(request, request.grammar, token, now)
        self.totals.generated += len(outputs)
        return outputs

    def _advance_by_grammar(self, request: Request, grammar: Grammar, token: int, now: float) -> list[Output]:
        """A sampled token and the forced ones after it. Only the last can reach a limit: more are not taken than fit."""
        most = min(request.max_tokens - request.generated, request.limit - len(request.tokens)) - 1
        run = [token, *grammar.advance(token, most)]
        outputs: list[Output] = []
        for index, following in enumerate(run, 1):
            outputs.append(self._advance(request, following, now, complete=index == len(run) and grammar.complete))
            if outputs[-1].finish:
                break
        return outputs

    def _advance(self, request: Request, token: int, now: float, *, complete: bool = False) -> Output:
        if not request.generated:
            request.first_token = now
        request.generated += 1
        if self._is_end(token):
            return self._finish(request, token, request.text.finish(), FinishReason.STOP, now)
        text = request.text.push(self._piece(token) or request.markers.get(token, b""))
        if request.text.stopped:
            return self._finish(request, token, text, FinishReason.STOP, now)
        request.tokens.append(token)
        if complete:
            return self._finish(request, token, text + request.text.finish(), FinishReason.STOP, now)
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
