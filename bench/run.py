"""Runs rows: a first round over the grid, then interleaved rounds of the contestants that are compared."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import psutil

from bench import goals, memory, peers, places, results, servers, workloads
from bench.client import AnswerFailed
from bench.goals import BEST, CEILING, INSIDE, SOCKET, Row
from bench.prompts import Vocabulary
from bench.results import GRID_ROUND, Result, ResultsFile
from bench.servers import Contestant

Workload = Callable[[servers.Running, workloads.Bench], Awaitable[dict[str, float]]]
BUSY_CORES = 0.3
"""Busy cores just before a measurement, above which somebody else is at work: figures then mean little, and the log says so."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement to be made. `contestant` is None for those without HTTP."""

    row: Row
    round: int
    key: str
    contestant: Contestant | None = None


def grid_jobs(row: Row) -> list[Job]:
    """The first round. Ours takes part where the best is the one nearest to ours."""
    contestants = (*row.grid, servers.OURS) if row.key == "long-prompt" else row.grid
    return [Job(row, GRID_ROUND, contestant.key, contestant) for contestant in contestants]


def round_jobs(row: Row, number: int, best: str | None) -> list[Job]:
    """A compared round. The order turns with the round, so that nobody always runs on the machine that another one warmed."""
    jobs = [Job(row, number, contestant.key, contestant) for contestant in row.always]
    if best is not None and best not in [job.key for job in jobs]:
        jobs += [Job(row, number, contestant.key, contestant) for contestant in row.grid if contestant.key == best]
    if row.ceiling:
        jobs.insert(1, Job(row, number, CEILING))
    if row.inside:
        jobs.insert(0, Job(row, number, SOCKET if row.workload else INSIDE))
    turn = (number - 1) % len(jobs)
    return jobs[turn:] + jobs[:turn]


def best_of_grid(row: Row, measured: Sequence[Result]) -> str | None:
    """The contestant that the first round finds best; for the long prompt the one whose worst gap is nearest to ours."""
    keys = [contestant.key for contestant in row.grid]
    metric, at = row.primary
    values = {r.contestant: r.metrics[metric] for r in measured if r.round == GRID_ROUND and metric in r.metrics}
    candidates = [key for key in keys if key in values]
    if not candidates:
        return None
    if row.key == "long-prompt":
        ours = values.get(servers.OURS.key)
        return min(candidates, key=lambda key: abs(values[key] - ours)) if ours is not None else None
    return (max if at == ">=" else min)(candidates, key=lambda key: values[key])


def plan(chosen: Sequence[Row], rounds: int | None) -> list[tuple[Row, int, float]]:
    """(row, compared rounds, minutes)."""
    found = []
    for row in chosen:
        number = rounds or row.rounds
        count = len(grid_jobs(row)) + number * len(round_jobs(row, 1, row.grid[0].key if row.grid else None))
        found.append((row, number, count * row.seconds / 60))
    return found


class Runner:
    """Makes measurements and writes each down at once."""

    def __init__(self, file: ResultsFile, *, rounds: int | None, again: bool) -> None:
        self._file = file
        self._rounds = rounds
        self._again = again
        self._vocabulary = Vocabulary(places.gguf())
        self._machine = results.machine()

    async def run(self, chosen: Sequence[Row]) -> None:
        for row in chosen:
            newest = self._file.newest_series(row.key)
            series = newest + 1 if self._again or newest == 0 else newest
            for job in self._jobs(row, series):
                await self._do(job, series)

    def _jobs(self, row: Row, series: int) -> Iterator[Job]:
        yield from grid_jobs(row)
        best = best_of_grid(row, self._file.of(row.key, series))
        for number in range(1, (self._rounds or row.rounds) + 1):
            yield from round_jobs(row, number, best)

    async def _do(self, job: Job, series: int) -> None:
        if self._file.has(job.row.key, series, job.key, job.round):
            return
        load = psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1)
        began = time.monotonic()
        result = Result(
            row=job.row.key,
            contestant=job.key,
            round=job.round,
            series=series,
            machine=self._machine,
            commit=results.commit(),
            load=load,
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        try:
            result = await self._measure(job, result)
        except peers.PeerMissing as missing:
            result = replace(result, skipped=str(missing))
        except BaseExceptionGroup as group:
            if group.subgroup((AnswerFailed, OSError)) is None:
                raise
            result = replace(result, skipped=f"failed: {group.exceptions[0]}")
        except (AnswerFailed, OSError) as error:
            result = replace(result, skipped=f"failed: {error}")
        result = replace(result, seconds=round(time.monotonic() - began, 1))
        self._file.append(result)
        _tell(job, result)

    async def _measure(self, job: Job, result: Result) -> Result:
        row, bench = job.row, workloads.Bench(self._vocabulary, job.round)
        match job.key:
            case goals.CEILING:
                return await _subprocess(
                    result, "bench.ceiling", "--widths", str(row.ceiling), "--repeats", "3" if row.ceiling < 16 else "1"
                )
            case goals.SOCKET | goals.INSIDE:
                assert row.inside is not None
                return await _subprocess(result, "bench.inside", row.inside, str(job.round))
        assert job.contestant is not None
        assert row.workload is not None
        workload: Workload = memory.memory if row.workload == "memory" else getattr(workloads, row.workload)
        async with servers.running(job.contestant, context=row.context, vocabulary=self._vocabulary) as server:
            metrics = await workload(server, bench)
        return replace(result, metrics=metrics, version=servers.version(job.contestant), command=server.command)


async def _subprocess(result: Result, *arguments: str) -> Result:
    """Run a module that prints one JSON object on its last line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=places.ROOT,
        env=os.environ | servers.SPIN,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        return replace(result, skipped=f"failed: {' '.join(errors.decode(errors='replace').splitlines()[-1:])}")
    data = json.loads(output.decode().splitlines()[-1])
    if "widths" in data:
        (figures,) = data["widths"].values()
        data = figures | {f"{name} MiB": size for name, size in data["buffers_mib"].items()} | {"threads": data["threads"]}
    return replace(result, metrics=data, command=f"python -m {' '.join(arguments)}", version=f"vllama {result.commit}")


def _tell(job: Job, result: Result) -> None:
    busy = f"  ({result.load:.1f} cores were busy before)" if result.load > BUSY_CORES else ""
    figures = result.skipped or "  ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    where = "grid" if job.round == GRID_ROUND else f"round {job.round}"
    print(f"{job.row.key:14} {where:8} {job.key:36} {result.seconds:6.1f} s  {figures}{busy}", flush=True)


__all__ = ["BEST", "Runner", "best_of_grid", "grid_jobs", "plan", "round_jobs"]
