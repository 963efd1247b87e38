"""The radix tree against a plain list of what each sequence holds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.engines.llama_cpp.radix import RadixTree, common_prefix

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=10)


def tokens(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


@given(SEQUENCES, st.lists(st.integers(0, 2), max_size=14))
def test_match_finds_the_longest_stored_prefix(stored: list[list[int]], query: list[int]) -> None:
    tree = RadixTree()
    for i, one in enumerate(stored):
        tree.insert(i, tokens(one), 0.0)
    expected = max(common_prefix(tokens(one), tokens(query)) for one in stored)
    assert tree.match(tokens(query))[0] == expected


@given(SEQUENCES, st.data())
def test_cells_are_counted_once_and_all_come_back(stored: list[list[int]], data: st.DataObject) -> None:
    tree = RadixTree()
    held = dict(enumerate(stored))
    last = {i: tree.insert(i, tokens(one), 0.0)[0] for i, one in held.items()}
    while True:
        unique = {tuple(one[: n + 1]) for one in held.values() for n in range(len(one))}
        assert tree.cells == len(unique)
        for i, one in held.items():
            holders = set()
            node = last[i]
            while node.parent is not None:
                holders |= {node.end} if i in node.holders else set()
                node = node.parent
            assert max(holders, default=0) == len(one)
        if not held:
            break
        victim = data.draw(st.sampled_from(sorted(held)))
        length = data.draw(st.integers(0, len(held[victim])))
        last[victim] = tree.truncate(victim, last[victim], length)
        held[victim] = held[victim][:length]
        if length == 0:
            del held[victim]


def test_insert_reports_spans_that_were_computed_twice() -> None:
    tree = RadixTree()
    tree.insert(0, tokens([1, 2, 3, 4]), 0.0)
    _, overlaps = tree.insert(1, tokens([1, 2, 9]), 0.0)
    assert overlaps == [(0, 2, 0)]
