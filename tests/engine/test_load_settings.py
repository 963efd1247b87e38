"""What the settings of a load change in the real library."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.model import Model
from vllama_core.config import LoadConfig

TOKENS = 64
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")


@contextmanager
def loaded(file: Path, **settings: Any) -> Iterator[Model]:
    lib.start(lambda _line: None)
    model = Model((file,), LoadConfig(**settings))
    yield model
    model.close()


def logits(file: Path, **settings: Any) -> np.ndarray:
    """Of the last of some tokens."""
    with loaded(file, **settings) as model:
        context = lib.Context(model, LoadConfig(**settings), cells=128, threads=1)
        wants = np.zeros(TOKENS, np.int8)
        wants[-1] = 1
        tokens, positions = np.arange(10, 10 + TOKENS, dtype=np.int32), np.arange(TOKENS, dtype=np.int32)
        assert context.decode(tokens, positions, np.zeros(TOKENS, np.int32), wants) == 0
        row = context.logits(1)[0].copy()
        context.close()
    return row


def locked_kib() -> int:
    found = re.search(r"^VmLck:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@LINUX_ONLY
@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_is_mapped_or_read(tiny_llama: Path, mmap: bool) -> None:
    with loaded(tiny_llama, mmap=mmap):
        assert (str(tiny_llama) in Path("/proc/self/maps").read_text()) is mmap


@LINUX_ONLY
@pytest.mark.parametrize("mmap", [True, False])
def test_weights_are_locked_in_memory(tiny_llama: Path, mmap: bool) -> None:
    size = tiny_llama.stat().st_size
    if os.geteuid() != 0 and 0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 2 * size:
        pytest.skip("this user may lock less memory than the model takes (ulimit -l)")
    before = locked_kib()
    with loaded(tiny_llama, mlock=True, mmap=mmap):
        assert (locked_kib() - before) * 1024 > size / 2


def test_positions_turn_as_they_are_told_to(tiny_llama: Path) -> None:
    own = logits(tiny_llama)
    assert np.array_equal(logits(tiny_llama, rope_freq_base=10_000.0), own), "what the file says"
    others = [
        {"rope_freq_base": 500_000.0},
        {"rope_scaling": "linear", "rope_freq_scale": 0.25},
        {"rope_scaling": "yarn", "rope_freq_scale": 0.25},
    ]
    made = [own, *(logits(tiny_llama, **settings) for settings in others)]
    for index, one in enumerate(made):
        assert all(np.abs(one - other).max() > 1e-3 for other in made[:index])
