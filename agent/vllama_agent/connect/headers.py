"""Which headers go on, in either direction. Pure."""

from __future__ import annotations

from multidict import CIMultiDict, CIMultiDictProxy

from vllama_agent import cors

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"proxy-authenticate", "proxy-authorization", "proxy-connection"}
)
"""They concern one connection (https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)."""
CALLERS_OWN = frozenset(["host", "authorization", "x-api-key", "cookie", "expect", "origin", "referer"])
"""Of a request: whom it is for and whose it is, which the proxy says itself; and what it has answered or asked of its caller already."""
BROWSERS = frozenset(["access-control-allow-origin", "access-control-expose-headers", "set-cookie"])
"""Of a reply: the proxy decides which pages may read it, and keeps no cookies."""


def to_server(headers: CIMultiDictProxy[str], key: str) -> CIMultiDict[str]:
    """A request's, with the key."""
    passed = _passed(headers, CALLERS_OWN)
    passed["Authorization"] = f"Bearer {key}"
    return passed


def to_client(headers: CIMultiDictProxy[str], origin: str | None) -> CIMultiDict[str]:
    """A reply's.

    :param origin: the page that asked; it is allowed to.
    """
    passed = _passed(headers, BROWSERS)
    if origin is not None:
        passed.update(cors.reply_headers(origin))
    return passed


def _passed(headers: CIMultiDictProxy[str], kept: frozenset[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    dropped = HOP_BY_HOP | kept | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
