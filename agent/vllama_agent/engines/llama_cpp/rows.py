"""Which rows the next step computes, of the requests that run. Pure.

Each step holds one decode row for every answer that is streaming, then as much prefill as the step's time budget allows, shortest
remaining prompt first with ageing. Where rows of both kinds cost more in one call than in two (`RowShape`), they take turns within the
same budget. Tokens that a grammar forces go along with the decode rows, several for one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.request import Request

MIN_CHUNK = 16
"""Prefill rows of a step even when its budget is spent: a long prompt always goes on."""
SLOW_STEPS = 2.0
"""Where decoding alone takes most of the budget, a step with prefill may last so many times a decode step: on a slow or busy machine
a long prompt would else go on by `MIN_CHUNK` rows a step, for minutes."""


@dataclass(slots=True)
class Chosen:
    """Rows of a step.

    :ivar decoding: those with one row, for their newest token.
    :ivar forced: (request, rows) of those whose newest tokens a grammar forced.
    :ivar prefilling: (request, rows of its prompt).
    """

    decoding: list[Request]
    forced: list[tuple[Request, int]]
    prefilling: list[tuple[Request, int]]

    @property
    def count(self) -> int:
        return len(self.decoding) + sum(rows for _, rows in self.forced) + sum(rows for _, rows in self.prefilling)


class RowChooser:
    """See the module.

    :param max_rows: most rows of one step (a micro-batch).
    :param budget: seconds between two tokens of the answers that are streaming.
    """

    def __init__(self, costs: StepCosts, shape: RowShape, *, max_rows: int, budget: float) -> None:
        self._costs = costs
        self._shape = shape
        self._max_rows = max_rows
        self._budget = budget

    def choose(self, decode: Sequence[Request], prefill: Sequence[Request], *, now: float, after_decoding: bool) -> Chosen:
        """Rows of those that are not paused.

        :param after_decoding: the step before held decode rows: where the kinds do not mix, it is the prompts' turn.
        """
        decoding, forced = self._choose_decode(decode)
        running = len(decoding) + sum(rows for _, rows in forced)
        prefilling = self._choose_prefill(prefill, running, now) if prefill else []
        if running and prefilling and not self._shape.mixes:
            return Chosen([], [], prefilling) if after_decoding else Chosen(decoding, forced, [])
        return Chosen(decoding, forced, prefilling)

    def _choose_decode(self, decode: Sequence[Request]) -> tuple[list[Request], list[tuple[Request, int]]]:
        """Those with one token to compute, and those with forced ones: a row for each, the others while the call stays narrow."""
        active = [request for request in decode if not request.paused]
        decoding = [request for request in active if request.remaining == 1]
        forced: list[tuple[Request, int]] = []
        if len(decoding) < len(active):
            room = max(0, min(self._max_rows, self._shape.narrow) - len(active))
            for request in active:
                if request.remaining > 1:
                    rows = min(request.remaining, 1 + room)
                    room -= rows - 1
                    forced.append((request, rows))
        return decoding, forced

    def _choose_prefill(self, prefill: Sequence[Request], decode_rows: int, now: float) -> list[tuple[Request, int]]:
        rows = self._max_rows - decode_rows
        if decode_rows:
            budget = max(self._budget, SLOW_STEPS * self._costs.decode_seconds(decode_rows))
            affordable = self._costs.prefill_rows(decode_rows=decode_rows, budget=budget)
            rows = min(rows, max(MIN_CHUNK, self._shape.rounded(affordable)))
        # seconds of work left minus seconds of age: short prompts first, but nobody waits for ever
        per_row = self._costs.seconds_per_prefill_row
        chosen = []
        for request in sorted(prefill, key=lambda r: r.remaining * per_row - (now - r.arrival)):
            if rows <= 0:
                break
            if request.paused:
                continue
            count = min(request.remaining, rows)
            chosen.append((request, count))
            rows -= count
        return chosen
