"""What a row of the benchmark and its goals are, and how a goal is judged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.servers import Contestant

BEST = "best"
"""Stands for the contestant of the grid that the first round finds best."""
OURS = "ours"
SOCKET = "our worker's socket"
CEILING = "ceiling"
INSIDE = "our agent alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One figure to judge.

    :ivar metric: what is read from results.
    :ivar of: the contestant it is read from.
    :ivar over: divide by this contestant's metric, round by round; None: the value itself.
    :ivar over_metric: read from `over` instead of `metric`.
    :ivar at: `>=` or `<=`.
    :ivar goal: None = reported, not judged.
    """

    text: str
    metric: str
    of: str = OURS
    over: str | None = None
    over_metric: str | None = None
    at: Literal[">=", "<="] = ">="
    goal: float | None = None
    floor: float | None = None
    unit: str = "×"

    def verdict(self, value: float) -> str:
        """met, above/below the floor, or missed."""
        if self.goal is None:
            return "reported"
        if self._holds(value, self.goal):
            return "met"
        if self.floor is not None and self._holds(value, self.floor):
            return "floor only"
        return "missed"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.at == ">=" else value <= bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload.

    :ivar workload: name of a function in `workloads` for served contestants.
    :ivar inside: name of a mode of `bench.inside`, for a contestant that has no HTTP (or a stand-in behind it).
    :ivar beside: kinds of contestants that this mode starts itself.
    :ivar ceiling: width of the ceiling probe, 0 = none.
    :ivar context: tokens that each slot of a peer needs.
    :ivar grid: contestants of the first round.
    :ivar primary: (metric, at) by which the best of the grid is chosen.
    :ivar always: served in every round; the best of the grid joins them.
    :ivar seconds: guesses for the plan, per contestant, on two cores.
    """

    key: str
    title: str
    goals: tuple[Goal, ...]
    workload: str | None = None
    inside: str | None = None
    beside: tuple[str, ...] = ()
    ceiling: int = 0
    context: int = 512
    grid: tuple[Contestant, ...] = ()
    primary: tuple[str, Literal[">=", "<="]] = ("rate", ">=")
    always: tuple[Contestant, ...] = ()
    rounds: int = 5
    seconds: float = 20.0

    def kinds(self) -> set[str]:
        """Of all its contestants."""
        return {contestant.kind for contestant in (*self.grid, *self.always)} | set(self.beside)
