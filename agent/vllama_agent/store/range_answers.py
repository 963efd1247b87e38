"""What a source's answer to a request for a range of a file means. Pure. RFC 9110, 14 and 15."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from vllama_agent.store.origin import CHANGED, GONE, REFUSED, Origin, content_range, retry_after
from vllama_core import human
from vllama_core.errors import AccessDenied, FetchFailed

LONGEST_ASKED_PAUSE = 300.0
"""Seconds; a source that asks for more has closed for today, and that is told instead of waited for."""
PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that another attempt may not meet."""


class Again(Exception):
    """This attempt failed; another may succeed.

    :ivar pause: seconds that the source asks for.
    """

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


class NoRanges(Exception):
    """The source ignores Range: it can only be read from the beginning, in one stream."""


def check(origin: Origin, status: int, headers: Mapping[str, str], *, start: int, size: int, is_ranged: bool) -> None:
    """Whether the bytes that follow are those that were asked for.

    :param start: the first byte that was asked for.
    :param size: bytes of the whole file.
    :param is_ranged: whether a range was asked for, and not the whole file.
    :raises Again: they are not, but may be the next time.
    :raises NoRanges: they are the whole file's.
    :raises FetchFailed: they never will be.
    """
    if status == 206:
        _check_part(origin, headers, start=start, size=size)
    elif status == 200:
        _check_whole(origin, headers, size=size)
        if is_ranged:
            raise NoRanges
    elif status in REFUSED:
        raise AccessDenied(f"{origin.shown}: {origin.denied} (HTTP {status})")
    elif status == CHANGED:
        raise _changed(origin)
    elif status in GONE:
        raise FetchFailed(f"{origin.shown} is not there (HTTP {status})")
    elif status < 500 and status not in PASSING:
        raise FetchFailed(f"{origin.shown} answers HTTP {status}")
    else:
        raise _later(origin, status, headers)


def _check_part(origin: Origin, headers: Mapping[str, str], *, start: int, size: int) -> None:
    begin, whole = content_range(headers.get("Content-Range", ""))
    if begin != start or whole not in (None, size):
        raise FetchFailed(f"{origin.shown} sent bytes {begin} of {whole}; bytes {start} of {size} were asked for")


def _check_whole(origin: Origin, headers: Mapping[str, str], *, size: int) -> None:
    """A source that ignores ranges answers so, and one whose file is another one than If-Range names (RFC 9110, 13.1.5)."""
    if origin.etag and headers.get("ETag", origin.etag) != origin.etag:
        raise _changed(origin)
    length = headers.get("Content-Length", "")
    if length.isdigit() and int(length) != size:
        raise FetchFailed(f"{origin.shown} has {length} bytes now and had {size} when it was looked at; pull again")


def _changed(origin: Origin) -> FetchFailed:
    return FetchFailed(f"{origin.shown} was changed while it was fetched; pull again")


def _later(origin: Origin, status: int, headers: Mapping[str, str]) -> Exception:
    pause = retry_after(headers.get("Retry-After", ""), datetime.now(UTC))
    if pause > LONGEST_ASKED_PAUSE:
        return FetchFailed(f"{origin.shown} asks to come back in {human.span(pause)} (HTTP {status})")
    return Again(f"HTTP {status}", pause)
