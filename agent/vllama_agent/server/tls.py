"""TLS by two files that may change: a connection gets the certificate that they hold when it begins."""

from __future__ import annotations

import ssl
from pathlib import Path

from vllama_agent.watched import Watched
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

OLDEST = ssl.TLSVersion.TLSv1_2
"""Older versions are deprecated: https://www.rfc-editor.org/rfc/rfc8996."""


class Certificate:
    """Certificate and key. Files that go wrong, as while only one of the two has been replaced, leave the old ones in use.

    :raises ConfigError: there is none in them.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._contexts = Watched([certificate, key], lambda: context_of(certificate, key))

    def __repr__(self) -> str:
        return f"Certificate({self._contexts!r})"

    def context(self) -> ssl.SSLContext:
        """For a listening socket, for as long as it listens."""
        context = self._contexts.value
        # called within every handshake, whether the client names a host or not; a context that was loaded whole takes the place of
        # this one, as loading into a context in use could leave a new certificate beside an old key
        context.sni_callback = self._newest
        return context

    def reread(self) -> bool:
        """Look again, though nothing seems to have changed; whether that went well."""
        return self._contexts.reread()

    def _newest(self, connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._contexts.value


def certificate_of(config: AgentConfig) -> Certificate | None:
    """What the settings name; None = plain HTTP.

    :raises ConfigError: it cannot be used.
    """
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        given, missing = ("--tls-cert", "--tls-key") if config.tls_key is None else ("--tls-key", "--tls-cert")
        raise ConfigError(f"{given} was given without {missing}; TLS needs both")
    return Certificate(config.tls_cert, config.tls_key)


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context.

    :raises ConfigError: names the file, and what is wrong with it.
    """
    _require("--tls-cert", certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
    if b"ENCRYPTED" in _require("--tls-key", key, b"PRIVATE KEY-----", "private key"):
        raise ConfigError(f"--tls-key is {str(key)!r}: the key is encrypted, and nobody is there to say its password; store it without one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"the key in {key} does not belong to the certificate in {certificate}") from None
        raise ConfigError(f"the certificate in {certificate} with the key in {key} cannot be used: {_reason(error)}") from None
    return context


def _require(flag: str, path: Path, mark: bytes, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} is {str(path)!r}: it cannot be read: {error.strerror}") from None
    if mark not in content:
        raise ConfigError(f"{flag} is {str(path)!r}: it holds no {what} in PEM")
    return content


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__).lower().replace("_", " ")
