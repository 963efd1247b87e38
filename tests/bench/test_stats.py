"""Medians, ratios and windows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import stats

FINITE = st.floats(0.001, 1e6)


@given(st.lists(FINITE, min_size=1))
def test_a_spread_holds_its_values(values: list[float]) -> None:
    found = stats.spread(values)
    assert found is not None
    assert found.low == min(values) <= found.median <= max(values) == found.high


def test_no_value_has_no_spread() -> None:
    assert stats.spread([]) is None


def test_one_value_is_written_without_a_spread() -> None:
    assert stats.Spread(1.234, 1.234, 1.234, 1).text() == "1.23"
    assert stats.Spread(1.0, 0.5, 2.0, 3).text(1) == "1.0 (0.5..2.0)"


def test_ratios_pair_rounds_and_leave_out_the_unpaired() -> None:
    """Round 3 is noise of a busy machine on both sides; round 4 was not finished."""
    assert stats.ratios({1: 10.0, 2: 12.0, 3: 1.0, 4: 99.0}, {1: 5.0, 2: 6.0, 3: 0.5}) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (95, 4), (100, 4), (1, 1)])
def test_percentiles_are_values(percent: float, expected: float) -> None:
    assert stats.percentile([4, 1, 3, 2], percent) == expected


@given(st.floats(-5, 5), st.floats(-100, 100))
def test_the_slope_of_a_line(gradient: float, offset: float) -> None:
    xs = [0.0, 1.0, 2.0, 5.0]
    assert stats.slope(xs, [gradient * x + offset for x in xs]) == pytest.approx(gradient, abs=1e-9)


def test_a_window_counts_only_what_came_while_all_streamed() -> None:
    """The second starts at 2 and the first ends at 4: of 2 < t <= 4 there are two tokens of one and four of the other."""
    first = [(0.0, 1), (1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)]
    second = [(2.0, 1), (3.0, 2), (4.0, 2), (5.0, 2)]
    assert stats.window_rate([first, second]) == 3.0


def test_streams_that_never_run_together_have_no_window() -> None:
    assert stats.window_rate([[(0.0, 1), (1.0, 1)], [(2.0, 1), (3.0, 1)]]) is None
