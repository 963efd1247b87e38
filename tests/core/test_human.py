"""The words of Ollama's tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import human

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1500, "1.5 KB"), (253113024, "253 MB"), (1_600_000_000, "1.6 GB"), (40 * 10**9, "40 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert human.size(count) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (268098176, "268M"), (8_190_735_360, "8.2B"), (10**12, "1.0T"), (1500, "2K")]
)
def test_counts(number: int, text: str) -> None:
    assert human.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (61, "About a minute ago"),
        (5 * MINUTE, "5 minutes ago"),
        (HOUR, "About an hour ago"),
        (40 * HOUR, "40 hours ago"),
        (3 * DAY, "3 days ago"),
        (20 * DAY, "2 weeks ago"),
        (90 * DAY, "3 months ago"),
        (800 * DAY, "2 years ago"),
        (-4.5 * MINUTE, "4 minutes from now"),
        (-1e10, "Forever"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert human.relative(seconds) == text


@given(st.floats(min_value=0, max_value=1e11))
def test_every_span_has_words(seconds: float) -> None:
    assert not human.span(seconds).startswith("0 ")
