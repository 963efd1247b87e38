"""Amounts of memory."""

import pytest

from vllama_core.quantities import parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1024", 1024),
        ("24GiB", 24 << 30),
        ("24Gi", 24 << 30),
        ("24GB", 24 * 10**9),
        ("24G", 24 * 10**9),
        ("1MB", 10**6),
        ("500 MB", 500 * 10**6),
        ("1.5GiB", 3 << 29),
        ("8gib", 8 << 30),
        ("7B", 7),
        (" 2Ki ", 2048),
        ("1PB", 10**15),
    ],
)
def test_amounts(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "1e9", "24 gigs", "24GiBs", "½G", "1_000", "nan", "9" * 40])
def test_what_is_no_amount_says_what_is(text):
    with pytest.raises(ValueError, match='such as "24GiB"'):
        parse_bytes(text)
