"""The table of rows, and the page that is written from it."""

from pathlib import Path

import pytest

from bench import goals, report, rows, workloads
from bench.goals import Goal
from bench.results import Result, ResultsFile
from bench.rows import ROWS


def test_keys_are_unique_and_workloads_exist() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.workload in (None, "memory") or hasattr(workloads, row.workload)
        assert row.workload or row.inside


def test_every_goal_reads_a_contestant_of_its_row() -> None:
    for row in ROWS:
        there = {contestant.key for contestant in (*row.always, *row.grid)} | {goals.CEILING, goals.SOCKET, goals.INSIDE, goals.BEST}
        assert {name for goal in row.goals for name in (goal.of, goal.over) if name} <= there


@pytest.mark.parametrize(
    ("at", "value", "expected"),
    [(">=", 1.0, "met"), (">=", 0.98, "floor only"), (">=", 0.9, "missed"), ("<=", 1.0, "met"), ("<=", 1.01, "missed")],
)
def test_verdicts(at: str, value: float, expected: str) -> None:
    floor = 0.97 if at == ">=" else None
    assert Goal(text="", metric="rate", at=at, goal=1.0, floor=floor).verdict(value) == expected


def test_a_goal_without_a_bound_is_only_reported() -> None:
    assert Goal(text="", metric="rate").verdict(0.1) == "reported"


def test_rows_are_chosen_by_name() -> None:
    assert [row.key for row in rows.chosen("shared, one-greedy")] == ["one-greedy", "shared"]
    assert rows.chosen(",") == ()
    assert rows.chosen("") == ROWS
    with pytest.raises(SystemExit, match="no such row: nonsense"):
        rows.chosen("nonsense")


def test_the_page_shows_ratios_within_rounds_their_spread_and_what_is_missing(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    for number, factor in ((1, 1.0), (2, 3.0)):  # the machine was three times faster in round 2
        for contestant, rate in (("ours", 96.0 + number), ("ceiling", 100.0)):
            file.append(
                Result(
                    row="one-greedy", contestant=contestant, round=number, series=1, metrics={"rate": rate * factor}, machine="a machine"
                )
            )
    file.append(
        Result(row="one-greedy", contestant="ollama", round=1, series=1, skipped="there is no Go compiler here", machine="a machine")
    )
    page = report.text(file, ROWS, {"one-greedy": "Because of the sampler."})
    assert "on a machine; at most 0.00 cores" in page
    assert "| one stream, decode, greedy (`one-greedy`) | 1 |  |  |  | 4 |" in page
    assert "| through HTTP / ceiling | 0.975 (0.970..0.980)× | ≥ 0.97× | ≥ 0.95× | met |" in page
    assert "there is no Go compiler here" in page
    assert "Because of the sampler." in page
    assert "Not measured yet (`make bench ROWS=shared`)." in page


def test_what_is_published_of_rows_without_results_stays(tmp_path: Path) -> None:
    """Whoever measures one row on another machine must not wipe out the others."""
    here, there = ResultsFile(tmp_path / "here.jsonl"), ResultsFile(tmp_path / "there.jsonl")
    for file, row, machine in ((here, "one-greedy", "a laptop"), (there, "shared", "a server")):
        for contestant in ("ours", "llama-server"):
            file.append(Result(row=row, contestant=contestant, round=1, series=1, metrics={"rate": 2.0, "wall": 1.0}, machine=machine))
    first = report.text(here, ROWS, {"one-greedy": "An old reason."})
    both = report.text(there, ROWS, {"one-greedy": "A new reason."}, first)
    assert both.count("on a laptop; at most") == both.count("on a server; at most") == 1
    assert "A new reason." in both
    assert "An old reason." not in both
    assert report.text(there, ROWS, {"one-greedy": "A new reason."}, both) == both


def test_rows_name_the_peers_that_are_built_for_them() -> None:
    """Minutes of compiling, which rows without peers need not wait for."""
    kinds = {row.key: row.kinds() for row in ROWS}
    assert kinds["one-greedy"] == {"ours", "llama-server", "ollama"}
    assert kinds["cold-start"] == kinds["load-big-warm"] == {"llama-server"}
    assert kinds["operator-idle"] == kinds["vllm"] == set()
