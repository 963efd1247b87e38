"""BENCHMARKS.md from the results file. Pure but for reading and writing the files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence

from bench import places, stats
from bench.goals import BEST, Goal, Row
from bench.results import GRID_ROUND, Result, ResultsFile
from bench.rows import ROWS
from bench.run import best_of_grid

HEAD = """# Benchmarks

Measured with `make bench`, written by it; not edited by hand. Reasons come from `bench/notes.toml`. Each row names the commit and the
machine that it was measured on; a row that this checkout has no results for stays as it was published.

- Model: {model}, the same GGUF file for everyone. Ours runs every row at its defaults; each peer gets the context that its slots
  need (see the commands).
- llama-server is built from the source archive that our wheel is built from, with the wheel's flags; Ollama from its Go module, with
  its own tuned CPU libraries.
- The ceiling is bare `llama_decode` with our model, threads and context settings: no sampler, no HTTP, the same positions.
- OpenMP threads spin equally long at barriers (`GOMP_SPINCOUNT`) in our worker, in llama-server and in the ceiling.
- A first round finds the best llama-server settings per row and is not compared. Then rounds are interleaved: a ratio is taken within
  a round, and its median over the rounds stands here, with the lowest and the highest.
- Prompts are prose that does not repeat itself; 32 tokens, and 256 out, where nothing is said.
- Rates count the tokens that really came. We and llama-server are told never to end early; Ollama cannot be told, so it may stop sooner.
- Speed is reported, not asserted: a figure that falls short says so.

Run some rows with `make bench ROWS=one-greedy,shared`; a run that was stopped goes on where it was;
`.venv/bin/python -m bench --again ...` starts rows anew.
"""
GPU = """## NVIDIA GPUs: a hypothesis, not a result

No GPU has run any of this. `bench/gpu.sh` measures it in one command on a machine that has one: it installs vLLM, serves one
model by it behind our agent, Ollama at its defaults and tuned beside it, 1 to 256 streams, and writes the table with its
environment into a file for this page.

The hypothesis is 10 times Ollama's tokens per second in all, on Linux with NVIDIA, **at 64 and more streams**. The arithmetic: a
decode step of a model of 8 billion parameters in 16 bits reads its 16 GB of weights once, however many streams there are, so that
N streams make N tokens a step until arithmetic or the traffic of the KV cache is the limit; Ollama runs `OLLAMA_NUM_PARALLEL`
requests at once, one unless somebody says more. At one stream both read the same bytes, and about 1 times is expected."""
SHOWN = ("rate", "steady", "wall", "ttft", "ttft_p50", "worst_gap_ms", "steady_gap_ms", "step_ms", "computed", "all_prefilled")
"""Metrics worth a column in the table of contestants, in that order."""


VERDICTS = ("met", "floor only", "missed", "reported", "not measured")
_MEASURED = re.compile(r"([^\n]+)\n\n(.+?^vllama .+? before a measurement\.)$", re.MULTILINE | re.DOTALL)
"""A section of the page: its title, and what was measured; a reason may follow."""


def text(file: ResultsFile, rows: Iterable[Row], notes: Mapping[str, str], published: str = "") -> str:
    """The whole page.

    :param published: the page as it is: what it says of rows that the file has nothing of is kept.
    """
    kept = dict(found.groups() for section in published.split("\n## ")[1:] if (found := _MEASURED.match(section)))
    bodies = [(row, _row(row, measured) if (measured := file.of(row.key)) else kept.get(_title(row))) for row in rows]
    parts = [HEAD.format(model=places.MODEL_NAME), "## Overview", _overview(bodies)]
    for row, body in bodies:
        parts += [f"## {_title(row)}", body or f"Not measured yet (`make bench ROWS={row.key}`)."]
        if note := notes.get(row.key):
            parts.append(note.strip())
    parts.append(GPU)
    return "\n\n".join(parts) + "\n"


def _title(row: Row) -> str:
    return row.title[0].upper() + row.title[1:]


def judged(row: Row, measured: Sequence[Result]) -> list[tuple[Goal, stats.Spread | None]]:
    """Each goal with what was measured for it."""
    best = best_of_grid(row, measured)
    return [(goal, stats.spread(_values(goal, measured, best))) for goal in row.goals]


def _values(goal: Goal, measured: Sequence[Result], best: str | None) -> list[float]:
    def series(contestant: str, metric: str) -> dict[int, float]:
        name = best if contestant == BEST else contestant
        return {r.round: r.metrics[metric] for r in measured if r.round != GRID_ROUND and r.contestant == name and metric in r.metrics}

    above = series(goal.of, goal.metric)
    if goal.over is None:
        return list(above.values())
    return stats.ratios(above, series(goal.over, goal.over_metric or goal.metric))


def _overview(bodies: Sequence[tuple[Row, str | None]]) -> str:
    """How many goals of each row have which verdict, by the last cells of its first table."""
    lines = [f"| row | {' | '.join(VERDICTS)} |", "|---|" + "---|" * len(VERDICTS)]
    for row, body in bodies:
        figures = body.partition("\n\n")[0].splitlines()[2:] if body else ["| not measured |"] * len(row.goals)
        said = [line.removesuffix(" |").rpartition("| ")[2] for line in figures]
        verdicts = [word if word in VERDICTS else "not measured" for word in said]
        lines.append(f"| {row.title} (`{row.key}`) | " + " | ".join(str(verdicts.count(word) or "") for word in VERDICTS) + " |")
    return "\n".join(lines)


def _row(row: Row, measured: Sequence[Result]) -> str:
    versions = {result.contestant: result.version for result in measured if result.version}
    best = best_of_grid(row, measured)
    lines = ["| figure | measured | goal | floor | |", "|---|---|---|---|---|"]
    for goal, spread in judged(row, measured):
        against = _against(goal, best, versions)
        bounds = [_bound(goal, value) for value in (goal.goal, goal.floor)]
        value = f"{spread.text(_digits(spread.median))}{goal.unit}" if spread else "not measured"
        verdict = goal.verdict(spread.median) if spread else _why_missing(measured)
        lines.append(f"| {goal.text}{against} | {value} | {bounds[0]} | {bounds[1]} | {verdict} |")
    if best is not None:
        lines += ["", f"Best of the grid: `{best}`."]
    return "\n".join([*lines, "", *_contestants(measured)])


def _against(goal: Goal, best: str | None, versions: Mapping[str, str]) -> str:
    """The peer in a ratio and its version, in words."""
    names = [best if name == BEST else name for name in (goal.of, goal.over)]
    peer = next((name for name in names if name and name.startswith(("llama-server", "ollama"))), None)
    return f" ({versions.get(peer, peer)})" if peer else ""


def _bound(goal: Goal, value: float | None) -> str:
    return "" if value is None else f"{'≥' if goal.at == '>=' else '≤'} {value:g}{goal.unit}"


def _digits(value: float) -> int:
    return 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0


def _why_missing(measured: Sequence[Result]) -> str:
    return "; ".join(sorted({result.skipped for result in measured if result.skipped})) or "not measured"


def _contestants(measured: Sequence[Result]) -> list[str]:
    """Medians of each contestant, with its command, so that anyone can repeat it."""
    names = list(dict.fromkeys(result.contestant for result in measured))
    columns = [metric for metric in SHOWN if any(metric in result.metrics for result in measured)]
    lines = [f"| contestant | rounds | {' | '.join(columns)} | command |", "|---|---|" + "---|" * (len(columns) + 1)]
    for name in names:
        mine = [result for result in measured if result.contestant == name]
        compared = [result for result in mine if result.round != GRID_ROUND] or mine
        cells = [_cell([result.metrics[metric] for result in compared if metric in result.metrics]) for metric in columns]
        skipped = next((result.skipped for result in mine if result.skipped and not any(other.metrics for other in mine)), None)
        rounds = "grid" if compared[0].round == GRID_ROUND else str(len(compared))
        command = skipped or (f"`{mine[-1].command}`" if mine[-1].command else "")
        lines.append(f"| {name} | {rounds} | {' | '.join(cells)} | {command} |")
    commits = sorted({result.commit for result in measured})
    machines = sorted({result.machine for result in measured})
    busiest = max(result.load for result in measured)
    where = f"vllama {', '.join(commits)} on {' and '.join(machines)}"
    lines += ["", f"{where}; at most {busiest:.2f} cores were busy with something else before a measurement."]
    return lines


def _cell(values: Sequence[float]) -> str:
    spread = stats.spread(values)
    return spread.text(_digits(spread.median)) if spread else ""


def notes() -> dict[str, str]:
    """Reasons by row; none when nobody wrote any."""
    if not places.NOTES.exists():
        return {}
    return {key: str(value["reason"]) for key, value in tomllib.loads(places.NOTES.read_text()).items()}


def write(file: ResultsFile) -> None:
    published = places.REPORT.read_text() if places.REPORT.exists() else ""
    places.REPORT.write_text(text(file, ROWS, notes(), published))
