"""Lines about a download, from its bytes to what an operator reads."""

from __future__ import annotations

import json

import pytest

from vllama_core.progress import Failure, Meter, Progress, Told, read


def test_a_line_comes_every_two_seconds_and_when_all_is_there() -> None:
    meter = Meter(1000)
    moments = [(0.0, 0), (0.5, 100), (1.9, 300), (2.0, 400), (3.0, 600), (3.5, 1000)]
    told = [meter.note("a", completed=completed, total=1000, now=now) for now, completed in moments]
    assert [progress.completed if progress else None for progress in told] == [0, None, None, 400, None, 1000]


def test_the_whole_is_known_before_each_file_has_begun() -> None:
    meter = Meter(400)
    first = meter.note("a", completed=100, total=100, now=0)
    assert first is not None
    assert (first.percent, first.total) == (25, 400)


def test_files_beyond_what_was_expected_count_too() -> None:
    meter = Meter()
    meter.note("a", completed=100, total=100, now=0)
    told = meter.note("b", completed=0, total=300, now=5)
    assert told is not None
    assert (told.completed, told.total) == (100, 400)


def test_what_an_earlier_attempt_fetched_is_no_speed() -> None:
    meter = Meter(1000)
    first = meter.note("a", completed=900, total=1000, now=0)
    assert first == Progress(completed=900, total=1000)
    assert first.seconds_left is None
    assert meter.note("a", completed=920, total=1000, now=2) == Progress(completed=920, total=1000, speed=10)


def test_the_speed_is_that_of_the_last_seconds() -> None:
    meter = Meter(10_000)
    for second in range(0, 31, 2):
        meter.note("a", completed=100 * second, total=10_000, now=second)
    told = [meter.note("a", completed=3000 + 10 * second, total=10_000, now=30 + second) for second in range(2, 15, 2)][-1]
    assert told is not None
    assert told.speed == 10
    assert told.seconds_left == 686


def test_what_is_written_is_read_again() -> None:
    progress = Progress(completed=1, total=4, speed=2)
    assert progress.as_fields() == {"completedBytes": 1, "totalBytes": 4, "bytesPerSecond": 2, "secondsLeft": 2}
    assert read([json.dumps({"level": "info", "progress": progress.as_fields()})]) == Told(progress=progress)


def test_the_newest_line_counts_and_a_failure_after_which_it_went_on_is_none() -> None:
    failure, progress = Failure("AccessDenied", "gated"), Progress(completed=1, total=4)
    lines = [json.dumps({"failure": failure.as_fields()}), json.dumps({"progress": progress.as_fields()})]
    assert read(lines) == Told(progress=progress)
    assert read(reversed(lines)) == Told(progress=progress, failure=failure)


@pytest.mark.parametrize(
    "line",
    ["", "Traceback", "{", "[1]", '{"progress": 3}', '{"progress": {"completedBytes": "1"}}', '{"progress": {"totalBytes": -1}}',
     '{"progress": {"totalBytes": true}}', '{"failure": {"reason": "X"}}', 'tes": 1}}'],
)  # fmt: skip
def test_other_lines_are_passed_over(line: str) -> None:
    assert read([line]) == Told()


def test_a_pod_cannot_claim_more_than_all() -> None:
    told = read(['2026-01-01 {"progress": {"completedBytes": 9, "totalBytes": 4}}'])
    assert told.progress is not None
    assert told.progress.percent == 100
