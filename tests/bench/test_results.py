"""The results file and what is still to be run."""

from pathlib import Path

from bench import run, servers
from bench.goals import Row
from bench.results import Result, ResultsFile
from bench.rows import ROWS


def row(key: str) -> Row:
    return next(row for row in ROWS if row.key == key)


def measured(contestant: str, number: int = 0, **metrics: float) -> Result:
    return Result(row="one-greedy", contestant=contestant, round=number, series=1, metrics=metrics)


def test_what_is_appended_is_found_again(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append(measured("ours", 2, rate=5.0))
    assert file.has("one-greedy", 1, "ours", 2)
    assert not file.has("one-greedy", 1, "ours", 3)
    assert not file.has("one-greedy", 2, "ours", 2)
    assert [result.metrics for result in file.of("one-greedy")] == [{"rate": 5.0}]


def test_what_was_skipped_is_tried_again(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append(Result(row="one-greedy", contestant="ollama", round=1, series=1, skipped="there is no Go compiler here"))
    assert not file.has("one-greedy", 1, "ollama", 1)


def test_a_line_that_a_crash_cut_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    file = ResultsFile(path)
    file.append(measured("ours", 1))
    path.write_text(path.read_text() + '{"row": "one-greedy", "contes')
    file.append(measured("ours", 2))
    assert [result.round for result in file] == [1, 2]


def test_a_new_series_hides_the_old_one(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append(Result(row="shared", contestant="ours", round=1, series=1))
    file.append(Result(row="shared", contestant="ours", round=1, series=2))
    assert [result.series for result in file.of("shared")] == [2]
    assert file.newest_series("memory") == 0


def test_the_best_of_the_grid_is_the_fastest() -> None:
    found = [measured(contestant.key, rate=float(speed)) for speed, contestant in enumerate(servers.GRID)]
    assert run.best_of_grid(row("one-greedy"), found) == servers.GRID[-1].key


def test_compared_rounds_do_not_choose_the_best() -> None:
    found = [
        measured("llama-server -np 1", 0, rate=1.0),
        measured("llama-server", 0, rate=2.0),
        measured("llama-server -np 1", 1, rate=9.0),
    ]
    assert run.best_of_grid(row("one-greedy"), found) == "llama-server"


def test_the_long_prompt_is_compared_with_the_batch_that_gives_our_gap() -> None:
    gaps = {"llama-server -np 16 -kvu -b 64": 180.0, "llama-server -np 16 -kvu -b 128": 330.0, "ours": 300.0}
    found = [measured(contestant, worst_gap_ms=gap) for contestant, gap in gaps.items()]
    assert run.best_of_grid(row("long-prompt"), found) == "llama-server -np 16 -kvu -b 128"


def test_every_round_has_everybody_once_in_another_order() -> None:
    first, second = (run.round_jobs(row("one-greedy"), number, "llama-server -np 4") for number in (1, 2))
    names = {job.key for job in first}
    assert {job.key for job in second} == names == {job.key for job in run.round_jobs(row("one-greedy"), 3, "llama-server -np 4")}
    assert len(first) == len(names)
    assert {"ours", "our worker's socket", "ceiling", "llama-server", "llama-server -np 4", "ollama"} == names
    assert [job.key for job in first] != [job.key for job in second]


def test_the_rows_of_the_agent_take_less_than_two_and_a_half_hours() -> None:
    """Those of the operator come on top of them, and the soak: two alone watch something for ten minutes."""
    agent = tuple(row for row in ROWS if not row.key.startswith("operator-") and row.key != "vllm-soak")
    assert sum(minutes for *_, minutes in run.plan(agent, None)) < 150
