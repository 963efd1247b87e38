"""A file that gives its disk back while it is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from small_gguf import make as gguf

from vllama_agent.store import consumed, header
from vllama_agent.store.consumed import Consumed

MIB = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One tensor of a mebibyte, and another mebibyte behind it."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(padding=MIB) + os.urandom(MIB))
    return path


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_what_was_read_is_given_back_and_everything_else_stays(file: Path) -> None:
    found, before, room = header.read(file), file.read_bytes(), blocks(file)
    (tensor,) = found.tensors
    with Consumed(file, found) as source:
        source.release(tensor.name)
    start, end = found.data_start + tensor.offset, found.data_start + tensor.offset + tensor.size
    after = file.read_bytes()
    assert (after[:start], after[end:]) == (before[:start], before[end:])
    if sys.platform == "linux":
        assert after[start:end] == bytes(end - start)
        assert blocks(file) <= room - (tensor.size - 2 * 4096)


def test_without_holes_a_file_stays_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(consumed, "_punch", lambda *place: asked.append(place) or 95)
    monkeypatch.setattr(sys, "platform", "linux")
    found, before = header.read(file), file.read_bytes()
    with Consumed(file, found) as source:
        source.release(found.tensors[0].name)
        source.release(found.tensors[0].name)
    assert file.read_bytes() == before
    assert len(asked) == 1, "a file system that has none is asked once"
