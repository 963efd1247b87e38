"""Which browsers may call, and the guard against DNS rebinding. Both as Ollama has them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")
APPS = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")
STAINLESS = "arch async custom-poll-interval helper-method lang os package-version poll-helper retry-count runtime runtime-version timeout"
ALLOWED_HEADERS = ", ".join(
    ["Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "OpenAI-Beta"]
    + [f"x-stainless-{name}" for name in STAINLESS.split()]
)
ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
EXPOSED_HEADERS = "X-Vllama-Version, X-Vllama-Load, X-Vllama-Ignored, X-Vllama-Truncated, Retry-After"
LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


class Origins:
    """The origins that may call from a browser.

    :param extra: more patterns, `*` being a wildcard; a lone `*` allows all.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        local = [f"{scheme}://{host}{port}" for host in LOCAL_HOSTS for scheme in ("http", "https") for port in ("", ":*")]
        patterns = [*extra, *local, *APPS]
        self._pattern = re.compile("|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in patterns), re.IGNORECASE)

    def allows(self, origin: str) -> bool:
        """Whether a request with this `Origin` may be answered."""
        return self._pattern.fullmatch(origin) is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply without a body, instead of what was asked for."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


def answer(method: str, headers: Mapping[str, str], origins: Origins, *, loopback: bool) -> Answer | None:
    """What a request gets for the `Host` and `Origin` that it names; None: it may go on.

    :param headers: of the request, looked up without case.
    :param loopback: the server is there for this machine alone.
    """
    if loopback and not host_is_local(headers.get("Host", "")):
        return Answer(403)
    origin = headers.get("Origin")
    if origin is None:
        return None
    if not origins.allows(origin) and origin.partition("://")[2] != headers.get("Host"):
        return Answer(403)
    if method == "OPTIONS" and "Access-Control-Request-Method" in headers:
        allowed = {"Access-Control-Allow-Methods": ALLOWED_METHODS, "Access-Control-Allow-Headers": ALLOWED_HEADERS}
        return Answer(204, allowed | {"Access-Control-Max-Age": "43200"})
    return None


def reply_headers(origin: str) -> dict[str, str]:
    """With which a browser lets the page of an allowed origin read the reply."""
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED_HEADERS, "Vary": "Origin"}


def host_is_local(host: str) -> bool:
    """Whether a `Host` header names this machine or a private network.

    A page of a stranger's site that points its name at 127.0.0.1 sends that name, and is refused.
    """
    name = host_name(host)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in ("", "localhost", own_name()) or name.endswith(LOCAL_SUFFIXES)
    return address.is_loopback or address.is_private or address.is_unspecified or is_own(address)


def host_name(host: str) -> str:
    """A `Host` header without its port, lower-cased."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


@cache
def own_name() -> str:
    """The machine's host name."""
    return socket.gethostname().lower()


def is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an interface of this machine has it: no other can be bound. Asks no name server, which could take seconds."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
