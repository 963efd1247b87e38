"""Durations as Go writes them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("-1m", -60),
        ("+2s", 2),
        (".5s", 0.5),
        ("300ms", 0.3),
        ("1µs", 1e-6),
        ("7ns", 7e-9),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5d", "1h-5m", "٣s", "1" * 70 + "s", "1e3s", "5m\n"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        durations.parse(text)


@pytest.mark.parametrize(("text", "seconds"), [("300", 300), ("-1", -1), ("1.5", 1.5), ("5m", 300)])
def test_variables_may_be_bare_seconds(text: str, seconds: float) -> None:
    assert durations.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "x"])
def test_variables_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        durations.parse_seconds(text)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0),
        (10, 10),
        (2.5, 2.5),
        (-1, -1),
        (-0.5, -1),
        ("10m", 600),
        ("0", 0),
        ("0s", 0),
        ("-1m", -1),
        (1e30, -1),
        (math.inf, -1),
    ],
)
def test_keep_alive(value: object, seconds: float | None) -> None:
    """Negative = never unload, and what is longer than Go can count, too."""
    assert durations.parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["300", "-1", True, [], {}, math.nan])
def test_no_keep_alive(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        durations.parse_keep_alive(value)


@given(st.from_regex(r"[+-]?([0-9]{1,4}(\.[0-9]{0,3})?(ns|us|ms|s|m|h)){1,4}", fullmatch=True))
def test_every_duration_of_go_is_understood(text: str) -> None:
    assert math.isfinite(durations.parse(text))
