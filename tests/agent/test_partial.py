"""What survives of a partial file, and who may work on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.store import claim, journal
from vllama_agent.store.claim import Claim
from vllama_agent.store.journal import Follower, Journal
from vllama_agent.store.ranges import Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(PAIRS)
def test_ranges_hold_the_bytes_that_were_put_in(pairs: list[tuple[int, int]]) -> None:
    bytes_in = {byte for start, end in pairs for byte in range(start, end)}
    ranges = Ranges(pairs)
    assert {byte for start, end in ranges for byte in range(start, end)} == bytes_in
    assert ranges.total == len(bytes_in)
    assert {byte for start, end in ranges.missing(50) for byte in range(start, end)} == set(range(50)) - bytes_in
    assert ranges.prefix == next(byte for byte in range(61) if byte not in bytes_in)
    assert all(end < following for (_, end), (following, _) in zip(list(ranges), list(ranges)[1:], strict=False))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_ranges_are_trusted_after_a_kill(path: Path) -> None:
    first = Journal(path, size=100, boot="a")
    first.wrote(0, 10)
    first.wrote(20, 30)
    assert Journal(path, size=100, boot="a").ranges == Ranges([(0, 10), (20, 30)])


def test_after_a_reboot_only_synced_ranges_are_trusted(path: Path) -> None:
    first = Journal(path, size=100, boot="a")
    first.wrote(0, 10)
    first.wrote(20, 30)
    first.synced(1)
    first.wrote(40, 50)
    second = Journal(path, size=100, boot="b")
    assert second.ranges == Ranges([(0, 10)])
    second.wrote(60, 70)
    assert Journal(path, size=100, boot="b").ranges == Ranges([(0, 10), (60, 70)])
    assert Journal(path, size=100, boot="a").ranges == Ranges([(0, 10), (20, 30), (40, 50)])


def test_a_system_that_cannot_tell_its_boots_apart_trusts_only_what_is_synced(path: Path) -> None:
    first = Journal(path, size=100, boot="")
    first.wrote(0, 10)
    first.synced(1)
    first.wrote(20, 30)
    assert Journal(path, size=100, boot="").ranges == Ranges([(0, 10)])


def test_a_journal_about_another_size_says_nothing(path: Path) -> None:
    Journal(path, size=100, boot="a").wrote(0, 10)
    assert Journal(path, size=101, boot="a").ranges == Ranges()


@given(st.binary(max_size=60), st.integers(0, 200))
def test_whatever_a_power_cut_leaves_nothing_is_made_up(tail: bytes, cut: int) -> None:
    whole = b"vllama journal 1 100\nboot a\n0 10\n20 30\nsynced 2\n40 50\n"
    found = journal.parse(whole[:cut] + tail, size=100, boot="b")
    assert 0 <= found.length <= len(whole[:cut] + tail)
    assert found.ranges.total <= 100
    if not tail:
        assert found.ranges in (Ranges(), Ranges([(0, 10), (20, 30)]))


def test_writing_goes_on_behind_the_last_line_that_is_whole(path: Path) -> None:
    Journal(path, size=100, boot="a").wrote(0, 10)
    with open(path, "ab") as file:
        file.write(b"20 3")
    Journal(path, size=100, boot="a").wrote(50, 60)
    assert Journal(path, size=100, boot="a").ranges == Ranges([(0, 10), (50, 60)])


def test_who_follows_a_journal_reads_only_what_is_new(path: Path) -> None:
    follower = Follower(path, size=100)
    assert follower.completed() == 0
    written = Journal(path, size=100)
    written.wrote(0, 10)
    assert follower.completed() == 10
    with open(path, "ab") as file:
        file.write(b"20 3")
    assert follower.completed() == 10, "half a line says nothing yet"
    with open(path, "r+b") as file:  # what was read is not read again
        file.write(b"x" * 20)
        file.seek(0, os.SEEK_END)
        file.write(b"0\n50 100\n")
    assert follower.completed() == 70
    path.unlink()
    assert follower.completed() == 0


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_journal_says_the_same_in_pieces_and_as_a_whole(first: int, second: int) -> None:
    whole = b"vllama journal 1 100\nboot a\n0 10\n20 30\nsynced 2\n40 50\nboot b\n60 70\n"
    for boot in ("a", "b", ""):
        reading = journal.Reading(size=100, boot=boot)
        for end in (min(first, second), max(first, second), len(whole)):
            reading.feed(whole[reading.length : end])
        assert reading.ranges == journal.parse(whole, size=100, boot=boot).ranges
        assert reading.length == len(whole)


def test_only_one_holds_a_claim_until_it_is_released(tmp_path: Path) -> None:
    first, second = Claim(tmp_path), Claim(tmp_path)
    assert first.try_acquire(0)
    assert not second.try_acquire(0)
    assert first.is_held()
    first.release()
    assert second.try_acquire(1)
    assert not first.is_held()
    first.release()
    assert second.is_held(), "who lost a claim cannot release another's"


def test_the_claim_of_a_process_that_died_is_taken_over_at_once(tmp_path: Path) -> None:
    script = "import sys, pathlib; from vllama_agent.store.claim import Claim; print(Claim(pathlib.Path(sys.argv[1])).try_acquire(0))"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"
    assert Claim(tmp_path).try_acquire(0)


def rewritten(folder: Path, **fields: object) -> None:
    owner = folder / "owner"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | fields))


def test_a_process_id_that_is_used_again_is_not_mistaken_for_the_owner(tmp_path: Path) -> None:
    assert Claim(tmp_path).try_acquire(0)
    rewritten(tmp_path, started="1")
    assert Claim(tmp_path).try_acquire(0)


def test_a_claim_from_before_a_reboot_is_taken_over_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "host", lambda: "this machine")
    assert Claim(tmp_path).try_acquire(0)
    rewritten(tmp_path, boot="the one before")
    assert Claim(tmp_path).try_acquire(0)


def test_work_of_a_running_process_is_told_from_what_a_dead_one_left(tmp_path: Path) -> None:
    assert not claim.is_at_work(tmp_path)
    assert not claim.is_left(tmp_path)
    assert Claim(tmp_path).try_acquire(0)
    assert claim.is_at_work(tmp_path)
    assert not claim.is_left(tmp_path)
    rewritten(tmp_path, process=2**22 + 1)
    assert not claim.is_at_work(tmp_path)
    assert claim.is_left(tmp_path)
    rewritten(tmp_path, namespace="pid:[1]")
    assert not claim.is_at_work(tmp_path), "another container's process may live or not"
    assert not claim.is_left(tmp_path)


def test_a_process_of_another_container_is_not_judged_by_its_id(tmp_path: Path) -> None:
    assert Claim(tmp_path).try_acquire(0)
    rewritten(tmp_path, namespace="pid:[1]", process=2**22 + 1)
    assert not Claim(tmp_path).try_acquire(0)


def test_another_machines_claim_holds_while_it_is_touched_whatever_its_clock_says(tmp_path: Path) -> None:
    assert Claim(tmp_path).try_acquire(0)
    rewritten(tmp_path, host="elsewhere", boot="another", process=1)
    observer = Claim(tmp_path)
    for second in range(0, 300, 30):
        os.utime(tmp_path / "owner", (1_000_000 - second * 1000, 1_000_000 - second * 1000))
        assert not observer.try_acquire(second)
    assert not observer.try_acquire(270 + claim.SILENCE_SECONDS - 1)
    assert observer.try_acquire(270 + claim.SILENCE_SECONDS)


def test_a_claim_that_cannot_be_read_is_given_up_after_a_minute(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("{")
    observer = Claim(tmp_path)
    assert not observer.try_acquire(0)
    assert observer.try_acquire(claim.SILENCE_SECONDS)


def test_a_file_system_without_hard_links_has_claims_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    first, second = Claim(tmp_path), Claim(tmp_path)
    assert first.try_acquire(0)
    assert not second.try_acquire(0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["owner"]
