"""Where a server listens and a client calls: the forms of OLLAMA_HOST.

https://github.com/ollama/ollama/blob/main/envconfig/config.go (Host)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PORT = 11434
_WITH_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*):(?P<port>[^:]*)")
ALLOWED = "an address such as 127.0.0.1, 0.0.0.0:8080, [::1]:11434 or https://example.com"


@dataclass(frozen=True, slots=True)
class Address:
    """A place on a network.

    :ivar host: without brackets; empty = every interface (server), this machine (client).
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """What a client calls; "any interface" is no place to call, so it becomes this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"


def parse(text: str) -> Address:
    """``host``, ``host:port``, ``:port``, ``[v6]:port``, or a URL, whose port is then its scheme's.

    :raises ValueError: says what is allowed.
    """
    scheme, marked, rest = text.partition("://")
    if not marked:
        scheme, rest = "http", text
    ports = {"http": 80 if marked else PORT, "https": 443}
    if scheme not in ports or re.search(r"[\s?#@]", rest):
        raise ValueError(ALLOWED)
    place, _, path = rest.partition("/")
    path = f"/{path.rstrip('/')}" if path.rstrip("/") else ""
    found = _WITH_PORT.fullmatch(place)
    if not found:
        host = place.strip("[]")
        return Address(scheme, host or "127.0.0.1", ports[scheme], path)
    return Address(scheme, found["host"].strip("[]"), port(found["port"]), path)


def port(text: str) -> int:
    """A port's number; 0 = one that the system chooses."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("a port from 0 to 65535")
    return int(text)
