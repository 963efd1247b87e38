"""API keys from a file that may change while we run."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

log = logging.getLogger(__name__)


class KeyFile:
    """One key per line; blank lines and `#` lines are skipped. Read again when the file's identity, time or size changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[bytes, ...] = ()
        self._complaint = ""
        self._reload()
        if not self._keys:
            raise ConfigError(f"the API key file {path} {self._complaint}; write one key per line, or leave --api-key-file out")

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r}, {len(self._keys)} keys)"

    def knows(self, presented: str) -> bool:
        """Whether it is one of the keys. Every key is compared, in constant time, so that timing tells nothing about any."""
        self._reload()
        given = presented.encode("utf-8", "surrogateescape")
        known = False
        for key in self._keys:
            known |= hmac.compare_digest(key, given)
        return known

    def _reload(self) -> None:
        """A file that vanished or went empty keeps the old keys: an unlucky rewrite must neither open nor close the door."""
        try:
            stat = os.stat(self._path)
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            keys = parse(self._path.read_bytes())
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror}")
            return
        self._stamp = stamp
        if keys:
            self._keys, self._complaint = keys, ""
        else:
            self._complain("holds no key")

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            if self._keys:
                log.warning("the API key file %s %s; the keys read before stay valid", self._path, why)


def parse(content: bytes) -> tuple[bytes, ...]:
    """The keys of a file's content."""
    lines = (line.strip() for line in content.splitlines())
    return tuple(line for line in lines if line and not line.startswith(b"#"))


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key that a request carries: `Authorization: Bearer …`, or Anthropic's `x-api-key`."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None


def keys_of(config: AgentConfig) -> KeyFile | None:
    """The keys to ask for; None = none.

    :raises ConfigError: the server would be open to the network without keys, and nobody said that it may.
    """
    if config.api_key_file is not None:
        return KeyFile(config.api_key_file)
    if not config.loopback and not config.no_auth:
        raise ConfigError(
            f"listening on {config.host} would let everyone on the network use this server: "
            "give --api-key-file FILE with keys, or say --no-auth if that is what you want"
        )
    return None
