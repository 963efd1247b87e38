"""`vllama connect`: a server that asks for a key, on a port of this machine that asks for none."""

from __future__ import annotations

import argparse
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vllama_agent import auth, logs
from vllama_agent.commands import settings, values
from vllama_agent.watched import Watched
from vllama_core import address
from vllama_core.errors import ConfigError

log = logging.getLogger(__name__)
T = TypeVar("T")

DESCRIPTION = """Let programs that send no key use a server that asks for one: they talk to a port of this machine, and the key is added
on the way. Whoever can log in to this machine can use the server, then, and web pages of local origins can."""


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `connect`."""
    made = argparse.ArgumentParser(prog=prog, description=DESCRIPTION, allow_abbrev=False)
    made.add_argument("url", metavar="URL", help="the server, such as https://models.example.org or gpu-box:11434")
    made.add_argument("--api-key-file", required=True, type=values.file, metavar="FILE", help="file whose first line is the key")
    made.add_argument("--port", default="11434", metavar="N", help="port to listen on (11434); 0 = a free one")
    made.add_argument("--ca-file", type=values.file, metavar="FILE", help="authority of the server's certificate (the system's)")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Pass requests on until a signal; the exit status.

    :raises ConfigError: an argument is wrong, or the port is taken.
    """
    where = _read("URL", arguments.url, address.parse)
    port = _read("--port", arguments.port, values.whole(least=0, most=65535)) or 0
    key = Watched([arguments.api_key_file], lambda: key_of(arguments.api_key_file))
    tls = None if arguments.ca_file is None else trusting(arguments.ca_file)
    logs.configure("text", settings.one("log_level", os.environ) or "info")
    if where.scheme != "https" and not address.is_loopback(where.connectable):
        log.warning("the key and all that is asked and answered travel to %s unencrypted; https:// keeps them from others", where.url)
    from vllama_agent import connect
    from vllama_agent.cors import Origins

    upstream = connect.Upstream(url=where.url, key=lambda: key.value, tls=tls)
    return connect.run(upstream, port=port, origins=Origins(settings.one("origins", os.environ) or ()))


def _read(name: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}: {error}") from None


def key_of(path: Path) -> str:
    """The first key of a file, which may be the server's own.

    :raises ConfigError: it cannot be read, or holds no key that a header can carry.
    """
    secret = auth.read(path)[0].secret
    if not secret.isascii() or not secret.decode("ascii").isprintable():
        raise ConfigError(f"the first key of {path} has characters that no header can carry")
    return secret.decode("ascii")


def trusting(authorities: Path) -> ssl.SSLContext:
    """Who vouches for the server's certificate, and nobody else.

    :raises ConfigError: the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except ssl.SSLError:
        raise ConfigError(f"--ca-file is {str(authorities)!r}: it holds no certificate in PEM") from None
    except OSError as error:
        raise ConfigError(f"--ca-file is {str(authorities)!r}: it cannot be read: {error.strerror}") from None
