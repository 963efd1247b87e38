"""What is read ahead of the engine: the files of the models that were named, up to a bound, and nobody is told of what is not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import small_gguf

from vllama_agent.store import Store, ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to read ahead")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(offset, length) of each call; all of them want the pages."""
    calls: list[tuple[int, int]] = []

    def advise(_fd: int, offset: int, length: int, advice: int, /) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        calls.append((offset, length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return calls


def file_of(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    return path


def test_every_byte_of_all_files_is_asked_for_once(asked: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "AT_ONCE", 400)
    files = [file_of(tmp_path, "a", 1000), file_of(tmp_path, "b", 300)]
    assert ahead.advise(files) == 1300
    assert asked == [(0, 400), (400, 400), (800, 200), (0, 300)]


def test_no_more_is_asked_for_than_the_bound(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    files = [file_of(tmp_path, "a", 1000), file_of(tmp_path, "b", 300), file_of(tmp_path, "c", 300)]
    assert ahead.advise(files, most=1100) == 1100
    assert asked == [(0, 1000), (0, 100)]


def test_a_file_that_is_gone_is_passed_over(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    assert ahead.advise([tmp_path / "gone", file_of(tmp_path, "b", 300)]) == 300


def test_named_models_are_read_and_unknown_ones_are_left_to_who_loads_them(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(small_gguf.make())
    thread = ahead.read_ahead(Store(tmp_path / "home"), ("nobody/knows:this", str(file)))
    thread.join(10)
    assert not thread.is_alive()
    assert sum(length for _, length in asked) == file.stat().st_size
