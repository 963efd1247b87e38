"""Long arrays of a GGUF header, left in the file until somebody wants their values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's value types as codes of `struct`, all little-endian."""
STRING = 8


class GgufArray(Sequence[Any]):
    """Values of one type that lie somewhere in a file. Its length is free; each look at a value reads the array anew.

    :param kind: the elements' type number.
    :param offset: where the elements begin, in bytes.
    :param size: how many bytes they take.
    :param source: reads (offset, size).
    """

    __slots__ = ("_count", "_kind", "_offset", "_size", "_source")

    def __init__(self, kind: int, count: int, offset: int, size: int, source: Callable[[int, int], bytes]) -> None:
        self._kind, self._count, self._offset, self._size, self._source = kind, count, offset, size, source

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.values()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())

    def __repr__(self) -> str:
        return f"<{self._count} values>"

    def values(self) -> list[Any]:
        """All of them. Bytes that are no UTF-8 become U+FFFD.

        :raises ValueError: the file has changed meanwhile.
        """
        raw = self._source(self._offset, self._size)
        if len(raw) != self._size:
            raise ValueError("the file has changed since its header was read")
        if self._kind != STRING:
            return list(struct.unpack(f"<{self._count}{SCALARS[self._kind]}", raw))
        return list(self._strings(raw))

    def _strings(self, raw: bytes) -> Iterator[str]:
        at = 0
        for _ in range(self._count):
            if at + 8 > len(raw):
                raise ValueError("the file has changed since its header was read")
            length = int.from_bytes(raw[at : at + 8], "little")
            yield raw[at + 8 : at + 8 + length].decode("utf-8", "replace")
            at += 8 + length
