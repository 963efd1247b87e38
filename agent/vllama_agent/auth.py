"""API keys from a file that may change while we run: one a line, with a name and limits behind it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vllama_agent.watched import Watched
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

UNNAMED = "unnamed"
"""What keys without a name are called together in logs and metrics."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AMOUNT = re.compile(r"[1-9][0-9]{0,11}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the keys of one name may use together. None = as much as there is."""

    concurrency: int | None = None
    """Answers that may wait or run at once."""
    tokens_per_minute: int | None = None
    """Tokens of prompts and answers, on average; a minute's worth may be used at once."""


@dataclass(frozen=True, slots=True)
class Key:
    """A line of the file.

    :ivar name: what logs and metrics call whoever sends it.
    """

    secret: bytes = field(repr=False)
    name: str = UNNAMED
    limits: Limits = Limits()


class KeyFile:
    """The keys of a file. Read again when it changes; one that vanished or went wrong keeps the old keys: an unlucky rewrite must neither
    open nor close the door.

    :raises ConfigError: it cannot be read, holds no key, or a line is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = Watched([path], lambda: read(path))

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r}, {len(self._keys.value)} keys)"

    def find(self, presented: str) -> Key | None:
        """The key that it is. Every key is compared, in constant time, so that timing tells nothing about any."""
        given = presented.encode("utf-8", "surrogateescape")
        found = None
        for key in self._keys.value:
            if hmac.compare_digest(key.secret, given):
                found = key
        return found


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    :raises ConfigError: it cannot be read, holds no key, or a line is wrong.
    """
    try:
        keys = tuple(parse(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"the API key file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"the API key file {path}, {error}") from None
    if not keys:
        raise ConfigError(f"the API key file {path} holds no key; write one per line, or leave --api-key-file out")
    return keys


def parse(content: bytes) -> Iterator[Key]:
    """The keys of a file's content: ``KEY [name=NAME [concurrency=N] [tokens-per-minute=N]]``.

    :raises ValueError: names the line and the option, never what could be a key.
    """
    lines: dict[bytes, int] = {}
    limits: dict[str, tuple[int, Limits]] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        key = _key(number, words)
        if key.secret in lines:
            raise ValueError(f"line {number}: this key stands on line {lines[key.secret]} already")
        first, agreed = limits.setdefault(key.name, (number, key.limits))
        if key.limits != agreed:
            raise ValueError(f"line {number}: the limits of {key.name} are others on line {first}; keys of one name share one set")
        lines[key.secret] = number
        yield key


def _key(number: int, words: list[bytes]) -> Key:
    options = dict(_option(number, word) for word in words[1:])
    if len(options) != len(words) - 1:
        raise ValueError(f"line {number}: an option stands there twice")
    if options and "name" not in options:
        raise ValueError(f"line {number}: limits need a name to be reported by; write name=… behind the key")
    amounts = {name.replace("-", "_"): int(value) for name, value in options.items() if name != "name"}
    return Key(words[0], options.get("name", UNNAMED), Limits(**amounts))


def _option(number: int, word: bytes) -> tuple[str, str]:
    name, equals, value = word.decode("utf-8", "replace").partition("=")
    if not equals or name not in ("name", "concurrency", "tokens-per-minute"):
        raise ValueError(f"line {number}: behind a key stand options: name=…, concurrency=N, tokens-per-minute=N")
    if name == "name" and (not _NAME.fullmatch(value) or value == UNNAMED):
        raise ValueError(f"line {number}: a name has at most 64 letters, digits, dots, hyphens and underscores, and is not {UNNAMED!r}")
    if name != "name" and not _AMOUNT.fullmatch(value):
        raise ValueError(f"line {number}: {name} is {value[:20]!r}; it must be a whole number, at least 1")
    return name, value


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
