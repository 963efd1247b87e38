"""The table of what is measured: for each row its contestants, its workload, and the goals that BENCHMARKS.md judges. Pure.

Adding a row means adding an entry here and, if nothing fits, a function in `workloads`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench import servers
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
    ceiling: int = 0
    context: int = 512
    grid: tuple[Contestant, ...] = ()
    primary: tuple[str, Literal[">=", "<="]] = ("rate", ">=")
    always: tuple[Contestant, ...] = ()
    rounds: int = 5
    seconds: float = 20.0


def _one_stream(name: str, title: str, of_socket: float, through_http: float, floor: float) -> Row:
    return Row(
        key=name,
        title=title,
        workload=name.replace("-", "_"),
        inside="rate-greedy" if "greedy" in name else "rate-default",
        ceiling=1,
        grid=servers.GRID,
        always=(servers.OURS, servers.LLAMA_DEFAULT, servers.OLLAMA),
        goals=(
            Goal(text="at the worker's socket / ceiling", metric="rate", of=SOCKET, over=CEILING, goal=of_socket, floor=floor),
            Goal(text="through HTTP / ceiling", metric="rate", over=CEILING, goal=through_http, floor=floor),
            Goal(text="/ best llama-server", metric="rate", over=BEST, goal=1.0, floor=0.97),
            Goal(text="/ llama-server, defaults", metric="rate", over=servers.LLAMA_DEFAULT.key, goal=1.0, floor=0.97),
            Goal(text="/ Ollama, defaults", metric="rate", over=servers.OLLAMA.key, goal=1.25, floor=1.1),
        ),
        seconds=18,
    )


def _many(count: int, name: str, goal: float, floor: float, ollama: tuple[Goal, ...], peers: tuple[Contestant, ...], seconds: float) -> Row:
    return Row(
        key=f"{name}-streams",
        title=f"{count} streams, aggregate decode, default sampler",
        workload=f"{name}_streams",
        ceiling=count,
        grid=servers.GRID[1:] if count > 4 else servers.GRID[2:],
        always=(servers.OURS, servers.LLAMA_DEFAULT, *peers),
        rounds=3,
        goals=(
            Goal(text=f"while all {count} stream / ceiling", metric="steady", over=CEILING, over_metric="rate", goal=goal, floor=floor),
            Goal(text="/ best llama-server", metric="rate", over=BEST, goal=1.05, floor=0.97),
            Goal(text="/ llama-server, defaults", metric="rate", over=servers.LLAMA_DEFAULT.key),
            *ollama,
        ),
        seconds=seconds,
    )


def _different(tokens: int, name: str, seconds: float) -> Row:
    return Row(
        key=f"different-{tokens}",
        title=f"16 requests at once, 1,000 different prompt tokens each, {tokens} out",
        workload=name,
        context=1000 + tokens + 24,
        grid=(servers.LLAMA_KVU, servers.LLAMA_NP1),
        primary=("wall", "<="),
        always=(servers.OURS, servers.LLAMA_SPLIT, servers.LLAMA_DEFAULT, *((servers.OLLAMA,) if tokens < 100 else ())),
        rounds=3,
        goals=(
            Goal(text="wall of the best of -kvu and -np 1 / ours", metric="wall", of=BEST, over=OURS, goal=1.05, floor=0.95),
            Goal(text="wall of -no-kvu / ours", metric="wall", of=servers.LLAMA_SPLIT.key, over=OURS, goal=0.80, floor=0.80),
            Goal(text="wall of llama-server, defaults / ours", metric="wall", of=servers.LLAMA_DEFAULT.key, over=OURS),
            *((Goal(text="wall of Ollama, defaults / ours", metric="wall", of=servers.OLLAMA.key, over=OURS),) if tokens < 100 else ()),
        ),
        seconds=seconds,
    )


_SHARED = Row(
    key="shared",
    title="16 requests at once, 2,000 shared + 64 own prompt tokens, 32 out, cold",
    workload="shared",
    context=2000 + 64 + 32 + 32,
    grid=servers.GRID[1:],
    primary=("wall", "<="),
    always=(servers.OURS, servers.LLAMA_DEFAULT, servers.OLLAMA),
    rounds=3,
    goals=(
        Goal(text="prefill tokens computed / unique", metric="computed_over_unique", at="<=", goal=1.05, floor=1.10),
        Goal(text="wall of llama-server, defaults / ours", metric="wall", of=servers.LLAMA_DEFAULT.key, over=OURS, goal=3.5, floor=2.5),
        Goal(text="wall of Ollama, defaults / ours", metric="wall", of=servers.OLLAMA.key, over=OURS, goal=5.0, floor=3.5),
        Goal(text="wall of the best llama-server / ours", metric="wall", of=BEST, over=OURS, goal=1.5, floor=1.15),
        Goal(text="p50 TTFT of the best llama-server / ours", metric="ttft_p50", of=BEST, over=OURS, goal=1.5, floor=1.1),
    ),
    seconds=40,
)

_LONG = Row(
    key="long-prompt",
    title="a 7,500-token prompt arrives while 8 streams decode",
    workload="long_prompt",
    context=2048,
    grid=(servers.llama_batch(64), servers.llama_batch(128), servers.llama_batch(256), servers.llama_batch(512)),
    primary=("worst_gap_ms", "<="),  # chosen by nearness to ours, see `run.best_of_grid`
    always=(servers.OURS, servers.LLAMA_KVU),
    rounds=3,
    goals=(
        Goal(text="worst gap / max(3 x steady gap, 400 ms)", metric="gap_over_limit", at="<=", goal=1.0),
        Goal(
            text="worst gap of llama-server at its default -b / ours",
            metric="worst_gap_ms",
            of=servers.LLAMA_KVU.key,
            over=OURS,
            goal=12,
            floor=8,
        ),
        Goal(text="TTFT / llama-server at its default -b", metric="ttft", over=servers.LLAMA_KVU.key, at="<=", goal=1.3, floor=1.6),
        Goal(text="TTFT / llama-server at the -b nearest our gap", metric="ttft", over=BEST, at="<=", goal=1.1, floor=1.4),
    ),
    seconds=55,
)

_SCHEDULER = Row(
    key="scheduler",
    title="scheduler's own time per step at 32 sequences, sampling apart",
    workload="scheduler",
    always=(servers.OURS,),
    rounds=3,
    goals=(
        Goal(text="schedule + emit", metric="own_us", at="<=", goal=120, floor=300, unit=" µs"),
        Goal(text="of the step", metric="own_percent", at="<=", goal=1.0, unit=" %"),
        Goal(text="sampling, 32 rows", metric="sample_us", unit=" µs"),
    ),
    seconds=40,
)

_AGENT = Row(
    key="agent-cpu",
    title="agent's CPU per streamed token, with a stand-in worker that emits frames",
    inside="agent-cpu",
    rounds=3,
    goals=(
        Goal(text="1 stream, 1,000 tokens/s", metric="one_us", of=INSIDE, at="<=", goal=70, floor=100, unit=" µs"),
        Goal(text="64 streams, 1,000 tokens/s", metric="many_us", of=INSIDE, at="<=", goal=70, floor=100, unit=" µs"),
        Goal(text="64 streams, 20,000 tokens/s", metric="flood_us", of=INSIDE, at="<=", goal=20, floor=40, unit=" µs"),
        Goal(text="of 20,000 tokens/s asked, delivered", metric="flood_rate", of=INSIDE, unit=" tok/s"),
        Goal(text="added TTFT, p50", metric="added_ttft_ms", of=INSIDE, at="<=", goal=1.5, floor=4.0, unit=" ms"),
    ),
    seconds=45,
)


def _cancel(case: str, words: str) -> tuple[Goal, Goal]:
    return (
        Goal(text=f"{words}: beyond the running step, worst", metric=f"{case}_excess_ms", of=INSIDE, at="<=", goal=5, unit=" ms"),
        Goal(text=f"{words}: in steps, worst", metric=f"{case}_steps", of=INSIDE, at="<=", goal=2, floor=2, unit=" steps"),
    )


_CANCEL = Row(
    key="cancel",
    title="cancel to sequence freed",
    inside="cancel",
    rounds=3,
    goals=(*_cancel("decode", "while decoding"), *_cancel("prefill", "in prefill"), *_cancel("queued", "queued")),
    seconds=60,
)

_MEMORY = Row(
    key="memory",
    title="memory after 32 streams and after 10,000 short requests",
    workload="memory",
    always=(servers.OURS,),
    rounds=1,
    goals=(
        Goal(
            text="worker beyond KV and repacked weights, after 32 streams",
            metric="worker_extra_mb",
            at="<=",
            goal=250,
            floor=350,
            unit=" MB",
        ),
        Goal(text="the same, after 10,000 requests", metric="worker_extra_mb_end", at="<=", goal=250, floor=350, unit=" MB"),
        Goal(text="agent, after 32 streams", metric="agent_mb", at="<=", goal=90, floor=120, unit=" MB"),
        Goal(text="agent, after 10,000 requests", metric="agent_mb_end", at="<=", goal=90, floor=120, unit=" MB"),
        Goal(text="worker grows per 1,000 requests", metric="worker_slope_mb", at="<=", goal=0.5, floor=1.0, unit=" MB"),
        Goal(text="agent grows per 1,000 requests", metric="agent_slope_mb", at="<=", goal=0.1, floor=0.5, unit=" MB"),
    ),
    seconds=360,
)

_SIXTEEN_OLLAMA = (
    Goal(text="/ Ollama, defaults", metric="rate", over=servers.OLLAMA.key, goal=3.3, floor=2.5),
    Goal(text="/ Ollama, OLLAMA_NUM_PARALLEL=16", metric="rate", over=servers.OLLAMA_16.key),
)
_FOUR_OLLAMA = (Goal(text="/ Ollama, defaults", metric="rate", over=servers.OLLAMA.key),)

ROWS = (
    _one_stream("one-greedy", "one stream, decode, greedy", 0.985, 0.97, 0.95),
    _one_stream("one-default", "one stream, decode, default sampler", 0.95, 0.94, 0.90),
    _many(4, "four", 0.94, 0.90, _FOUR_OLLAMA, (servers.OLLAMA,), 16),
    _many(16, "sixteen", 0.90, 0.85, _SIXTEEN_OLLAMA, (servers.OLLAMA, servers.OLLAMA_16), 45),
    _SHARED,
    _different(32, "different_short", 45),
    _different(400, "different_long", 95),
    _LONG,
    _SCHEDULER,
    _AGENT,
    _CANCEL,
    _MEMORY,
)


def chosen(keys: str | None) -> tuple[Row, ...]:
    """Rows named in a comma-separated list, in the table's order; all without one.

    :raises SystemExit: a name is not in the table.
    """
    if not keys:
        return ROWS
    wanted = {key.strip() for key in keys.split(",") if key.strip()}
    if unknown := wanted - {row.key for row in ROWS}:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(row.key for row in ROWS)}")
    return tuple(row for row in ROWS if row.key in wanted)
