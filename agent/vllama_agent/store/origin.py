"""A file at an address, and what its source says in headers. Pure, but for the signature that some sources give for a while."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

CONNECT_SECONDS = 15.0
"""Until a source that does not accept a connection counts as gone."""
REFUSED = frozenset({401, 403})
GONE = frozenset({404, 410})
CHANGED = 412
"""If-Match did not hold: RFC 9110, 15.5.13"""


@dataclass(frozen=True, slots=True)
class Access:
    """What one request is made with.

    :ivar url: may hold a signature.
    :ivar headers: may hold a token: sent to this address only, never to where it redirects.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


Sign = Callable[[Access | None], Awaitable[Access]]
"""Gives access that ends after a while. Called with the access that was refused; None: with the first one, or any that is still good."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file's bytes come from.

    :ivar url: may hold a signature, as `Access.url`; `shown` has none.
    :ivar headers: as `Access.headers`.
    :ivar denied: what is said when access is refused.
    :ivar etag: of the file as it was when it was looked at: parts of another one are not mixed in.
    :ivar sign: makes the access to this file; None: address and headers are good for ever.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    denied: str = "access is refused"
    etag: str = ""
    sign: Sign | None = field(default=None, repr=False)

    async def access(self, refused: Access | None = None) -> Access:
        """What to ask with.

        :param refused: an earlier answer of this, which was good and is not any more.
        :raises FetchFailed: no access can be had.
        """
        return Access(self.url, self.headers) if self.sign is None else await self.sign(refused)

    @property
    def shown(self) -> str:
        """For errors: without a query, which may hold a signature."""
        return self.url.partition("?")[0]


def content_range(text: str) -> tuple[int | None, int | None]:
    """First byte and whole size of ``bytes 0-99/1000``; None = not said. RFC 9110, 14.4"""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def retry_after(text: str, now: datetime) -> float:
    """Seconds that a Retry-After header asks for, given as a number or a date; 0 = it says nothing. RFC 9110, 10.2.3"""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0
