"""What answers to requests for a range mean."""

from __future__ import annotations

import pytest

from vllama_agent.store import range_answers
from vllama_agent.store.origin import Origin
from vllama_agent.store.range_answers import Again, NoRanges
from vllama_core.errors import AccessDenied, FetchFailed

ORIGIN = Origin("https://example.org/m.gguf?signature=secret", denied="ask its owner", etag='"one"')
PART = {"Content-Range": "bytes 10-19/100"}


def check(status: int, headers: dict[str, str], *, is_ranged: bool = True) -> None:
    range_answers.check(ORIGIN, status, headers, start=10, size=100, is_ranged=is_ranged)


@pytest.mark.parametrize(
    ("status", "headers", "is_ranged"),
    [(206, PART, True), (206, {"Content-Range": "bytes 10-19/*"}, True), (200, {"Content-Length": "100"}, False), (200, {}, False)],
)
def test_the_right_bytes_are_taken(status: int, headers: dict[str, str], is_ranged: bool) -> None:
    check(status, headers, is_ranged=is_ranged)


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        (206, {"Content-Range": "bytes 0-9/100"}, FetchFailed, "sent bytes 0 of 100; bytes 10 of 100 were asked for"),
        (206, {"Content-Range": "bytes 10-19/101"}, FetchFailed, "sent bytes 10 of 101"),
        (206, {}, FetchFailed, "sent bytes None of None"),
        (200, {"Content-Length": "100"}, NoRanges, "^$"),
        (200, {"Content-Length": "100", "ETag": '"one"'}, NoRanges, "^$"),
        (200, {"Content-Length": "100", "ETag": '"two"'}, FetchFailed, "was changed while it was fetched; pull again"),
        (200, {"Content-Length": "99"}, FetchFailed, "has 99 bytes now and had 100 when it was looked at; pull again"),
        (412, {}, FetchFailed, "was changed while it was fetched; pull again"),
        (401, {}, AccessDenied, r"ask its owner \(HTTP 401\)"),
        (403, {}, AccessDenied, r"ask its owner \(HTTP 403\)"),
        (404, {}, FetchFailed, r"is not there \(HTTP 404\)"),
        (410, {}, FetchFailed, r"is not there \(HTTP 410\)"),
        (416, {}, FetchFailed, "answers HTTP 416"),
        (304, {}, FetchFailed, "answers HTTP 304"),
        (429, {"Retry-After": "3600"}, FetchFailed, "asks to come back in About an hour"),
        (429, {}, Again, "HTTP 429"),
        (408, {}, Again, "HTTP 408"),
        (500, {}, Again, "HTTP 500"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_signature(
    status: int, headers: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as told:
        check(status, headers)
    assert "secret" not in str(told.value)


def test_a_busy_source_says_when_to_come_back() -> None:
    with pytest.raises(Again) as told:
        check(503, {"Retry-After": "20"})
    assert told.value.pause == 20
