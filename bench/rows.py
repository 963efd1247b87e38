"""The table of what is measured: for each row its contestants, its workload, and the goals that BENCHMARKS.md judges. Pure.

Adding a row means adding an entry to `rows_served` or `rows_inside` and, if nothing fits, a function in `workloads`.
"""

from __future__ import annotations

from bench import rows_inside, rows_served, servers
from bench.goals import Row

ROWS = (
    rows_served.one_stream("one-greedy", "one stream, decode, greedy", 0.985, 0.97, 0.95),
    rows_served.one_stream("one-default", "one stream, decode, default sampler", 0.95, 0.94, 0.90),
    rows_served.many(4, "four", 0.94, 0.90, rows_served.FOUR_OLLAMA, (servers.OLLAMA,), 16),
    rows_served.many(16, "sixteen", 0.90, 0.85, rows_served.SIXTEEN_OLLAMA, (servers.OLLAMA, servers.OLLAMA_16), 45),
    rows_served.SHARED,
    rows_served.different(32, "different_short", 45),
    rows_served.different(400, "different_long", 95),
    rows_served.LONG,
    rows_served.SCHEDULER,
    rows_inside.AGENT,
    rows_inside.CANCEL,
    rows_inside.VLLM_PROXY,
    rows_inside.VLLM_SOAK,
    rows_inside.VLLM,
    rows_inside.VLLM_INTERVALS,
    rows_inside.STRUCTURED,
    rows_inside.CODECS,
    rows_served.MEMORY,
    rows_inside.COLD_START,
    rows_inside.COLD_START_BIG,
    rows_inside.load("warm", "in"),
    rows_inside.load("dropped", "not in"),
    rows_inside.OPERATOR_APPLY,
    rows_inside.OPERATOR_CROWD,
    rows_inside.OPERATOR_IDLE,
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
