"""``OLLAMA_HOST`` in all its forms: ``host``, ``:port``, ``host:port``, ``[::1]:port``, ``http://host:port/path``.

https://github.com/ollama/ollama/blob/main/docs/faq.mdx#how-can-i-expose-ollama-on-my-network
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 11434
LOOPBACK = "127.0.0.1"
_SCHEME_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<bare_six>(?=[^/]*::|(?:[^:/]*:){7})[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,7})|(?P<host>[^\s:/?#@\[\]]*))"
    r"(?::(?P<port>\d{1,5}))?(?P<path>/[^\s?#]*)?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens or is reached.

    :ivar host: empty = every interface, as in ``:8080``.
    :ivar port: None = not said.
    :ivar path: before every route, for servers behind a proxy; without a slash at its end.
    """

    host: str = LOOPBACK
    port: int | None = None
    scheme: str | None = None
    path: str = ""

    @property
    def effective_port(self) -> int:
        """The port that is meant: an address with a scheme and no port means the scheme's, as with Ollama."""
        if self.port is not None:
            return self.port
        return _SCHEME_PORTS[self.scheme] if self.scheme else DEFAULT_PORT

    @property
    def connectable(self) -> str:
        """The host to connect to: what means "every interface" to a server means nothing to a client."""
        return {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)

    @property
    def url(self) -> str:
        """To connect to, as people write it; without a slash at its end."""
        host = self.connectable
        shown = f"[{host}]" if ":" in host else host
        return f"{self.scheme or 'http'}://{shown}:{self.effective_port}{self.path}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(text: str) -> Address:
    """Read an address.

    :raises ValueError: it is none; the sentence says what is.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and port > 65535):
        raise ValueError("it must be an address such as 127.0.0.1, :8080, 0.0.0.0:11434 or http://server:11434")
    host = found["six"] or found["bare_six"] or found["host"] or ("" if port is not None else LOOPBACK)
    return Address(host=host, port=port, scheme=found["scheme"], path=(found["path"] or "").rstrip("/"))
