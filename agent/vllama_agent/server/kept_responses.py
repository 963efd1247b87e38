"""The responses that can be gone on from or asked for again: so many, so large, and each for whoever had it made."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from vllama_agent import auth
from vllama_agent.apis.errors import NotFound
from vllama_agent.engines.base import Message

MOST_BYTES = 64 << 20
"""Of all together; conversations grow, and each response holds its whole one."""
OFF = "this server keeps no responses; start it with --keep-responses N"


def owner_of(headers: Mapping[str, str]) -> bytes:
    """Who asks: a digest of the key, so that none is held here."""
    return hashlib.sha256((auth.presented_key(headers) or "").encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, and the turns of its conversation up to its own."""

    owner: bytes
    body: bytes
    turns: tuple[Message, ...]

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.body) + sum(len(turn.content) + len(str(turn.extra)) for turn in self.turns)


class KeptResponses:
    """The newest responses.

    :param most: how many; 0 = none is kept.
    """

    def __init__(self, most: int, *, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def put(self, identifier: str, kept: Kept) -> None:
        """Keep one; the oldest go for it."""
        self._kept[identifier] = kept
        self._bytes += kept.size
        while len(self._kept) > self.most or self._bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.size

    def get(self, identifier: str, owner: bytes) -> Kept:
        """One that its owner asks for.

        :raises NotFound: it is not here (any more), or somebody else's.
        """
        kept = self._kept.get(identifier)
        if kept is None or kept.owner != owner:
            raise NotFound("no such response is kept here" if self.most else OFF)
        self._kept.move_to_end(identifier)
        return kept

    def delete(self, identifier: str, owner: bytes) -> None:
        """Forget one.

        :raises NotFound: as `get`.
        """
        self._bytes -= self.get(identifier, owner).size
        del self._kept[identifier]
