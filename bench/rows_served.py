"""Rows whose contestants are servers: ours beside llama-server and Ollama, each asked through HTTP. Pure."""

from __future__ import annotations

from bench import servers
from bench.goals import BEST, CEILING, OURS, SOCKET, Goal, Row
from bench.servers import Contestant


def one_stream(name: str, title: str, of_socket: float, through_http: float, floor: float) -> Row:
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


def many(count: int, name: str, goal: float, floor: float, ollama: tuple[Goal, ...], peers: tuple[Contestant, ...], seconds: float) -> Row:
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


def different(tokens: int, name: str, seconds: float) -> Row:
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


SHARED = Row(
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

LONG = Row(
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

SCHEDULER = Row(
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

MEMORY = Row(
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

SIXTEEN_OLLAMA = (
    Goal(text="/ Ollama, defaults", metric="rate", over=servers.OLLAMA.key, goal=3.3, floor=2.5),
    Goal(text="/ Ollama, OLLAMA_NUM_PARALLEL=16", metric="rate", over=servers.OLLAMA_16.key),
)
FOUR_OLLAMA = (Goal(text="/ Ollama, defaults", metric="rate", over=servers.OLLAMA.key),)
