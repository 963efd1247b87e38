"""Read the header of a GGUF file from a buffer that holds its beginning: metadata and where the tensors lie.

Every number in a file may be a lie, so each is held against the file's size before it is used: nothing large is allocated for a
claim, and whatever the bytes are, the outcome is a `GgufHeader` or a `GgufError`.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from vllama_core import human
from vllama_core.errors import UnreadableModel
from vllama_core.gguf_array import SCALARS, STRING, GgufArray
from vllama_core.gguf_types import FILE_TYPES, TENSOR_TYPES

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ARRAY = 9
SHORT_ARRAY = 64
"""Longer arrays (vocabularies) stay in the file and are read when somebody iterates over them."""
MOST_PAIRS = 1 << 14
"""Real files have fewer than a hundred."""
MOST_TENSORS = 1 << 17
"""The largest mixtures of experts have a few thousand."""
MOST_DIMENSIONS = 4
LONGEST_KEY = 65535
LONGEST_STRING = 16 << 20
"""Bytes. Chat templates, the longest strings of real files, have some ten thousand."""
LARGEST_HEADER = 256 << 20
"""Bytes. The largest vocabularies take 20 MB."""
DEFAULT_ALIGNMENT = 32

Source = Callable[[int, int], bytes]
"""(offset, size) -> the bytes of the file that lie there."""


class GgufError(UnreadableModel):
    """The bytes are no GGUF file that can be used; the sentence says what is wrong."""


class GgufTruncated(GgufError):
    """The header goes on behind the buffer's end.

    :ivar needed: bytes that are certainly needed.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(f"the file ends inside its header, before byte {needed}")
        self.needed = needed


class Tensor(NamedTuple):
    """A tensor's entry; the shape is in the file's order, the fastest dimension first."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    """Bytes behind the start of the data."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the beginning of a GGUF file says.

    :ivar metadata: numbers, strings, booleans, lists, and `GgufArray` for long arrays.
    :ivar data_start: where the tensors' bytes begin.
    """

    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """``gemma3``, ``llama`` …; empty if the file does not say."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def parameter_count(self) -> int:
        """As the file says, else counted from the tensors."""
        said = self.metadata.get("general.parameter_count")
        return said if type(said) is int else sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def parameter_size(self) -> str:
        """``268M``, ``8.2B``."""
        return human.count(self.parameter_count)

    @property
    def quantization(self) -> str:
        """``Q4_K_M``, ``BF16`` …, or ``unknown``. A number in GGUF files, the word itself where other files are described (`hf_header`)."""
        value = self.metadata.get("general.file_type")
        if isinstance(value, str):
            return value
        return FILE_TYPES.get(value, "unknown") if isinstance(value, int) else "unknown"

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was trained for."""
        return self._size("context_length")

    @property
    def embedding_length(self) -> int | None:
        """Width of its hidden states."""
        return self._size("embedding_length")

    @property
    def data_end(self) -> int:
        """Bytes that a whole file has at least."""
        return self.data_start + max((tensor.offset + tensor.size for tensor in self.tensors), default=0)

    def _size(self, key: str) -> int | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if type(value) is int and value > 0 else None


def parse(buffer: bytes | memoryview, *, total: int | None = None, source: Source | None = None) -> GgufHeader:
    """Read a header.

    :param buffer: the file's beginning.
    :param total: the file's size in bytes; None: the buffer is the whole file.
    :param source: where long arrays are read from later; None: from the buffer, which is then kept.
    :raises GgufTruncated: more of the file is needed, or it ends too early.
    :raises GgufError: the bytes are no header.
    """
    view = memoryview(buffer)
    return _Reader(view, min(total or len(view), LARGEST_HEADER), source or (lambda at, size: bytes(view[at : at + size]))).header()


class _Reader:
    """A position in a buffer. `limit` is where the header must end at the latest, in the buffer or behind it."""

    def __init__(self, view: memoryview, limit: int, source: Source) -> None:
        self.view = view
        self.limit = limit
        self.source = source
        self.at = 0

    def header(self) -> GgufHeader:
        if bytes(self.view[:4]) != MAGIC[: len(self.view)] or len(self.view) < 4:
            raise GgufError("it is no GGUF file: it does not begin with 'GGUF'")
        self.at = 4
        version = self._version()
        tensor_count = self._count("tensors", MOST_TENSORS)
        pair_count = self._count("metadata pairs", MOST_PAIRS)
        metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = self._key()
            if key in metadata:
                raise GgufError(f"the metadata key {key!r} is there twice")
            metadata[key] = self._value(self.number("<I"), key)
        tensors = tuple(self._tensor() for _ in range(tensor_count))
        return GgufHeader(version, metadata, tensors, self._aligned(metadata))

    def _version(self) -> int:
        version = int(self.number("<I"))
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            why = "its byte order is big-endian" if swapped in VERSIONS else f"its version is {version}; 2 and 3 are known"
            raise GgufError(f"the GGUF file cannot be read: {why}")
        return version

    def take(self, size: int, what: str) -> int:
        """Step over bytes; the position where they begin."""
        begin, end = self.at, self.at + size
        if end > self.limit:
            raise GgufError(f"{what} of {size} bytes at byte {begin} goes beyond the header's end")
        if end > len(self.view):
            raise GgufTruncated(end)
        self.at = end
        return begin

    def number(self, code: str, what: str = "a number") -> Any:
        size = struct.calcsize(code)
        return struct.unpack_from(code, self.view, self.take(size, what))[0]

    def string(self, what: str) -> str:
        size = self.number("<Q", f"the length of {what}")
        if size > LONGEST_STRING:
            raise GgufError(f"{what} at byte {self.at} claims {size} bytes; at most {LONGEST_STRING} are allowed")
        begin = self.take(size, what)
        return bytes(self.view[begin : begin + size]).decode("utf-8", "replace")

    def _count(self, what: str, most: int) -> int:
        count = int(self.number("<Q", f"the number of {what}"))
        if count > most:
            raise GgufError(f"the file claims {count} {what}; no real file has more than {most}")
        return count

    def _key(self) -> str:
        begin = self.at
        key = self.string("a metadata key")
        if not 0 < len(key) <= LONGEST_KEY:
            raise GgufError(f"the metadata key at byte {begin} has {len(key)} characters; 1 to {LONGEST_KEY} are allowed")
        return key

    def _value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.string(f"the value of {key!r}")
        if kind == ARRAY:
            return self._array(key)
        if kind not in SCALARS:
            raise GgufError(f"the value of {key!r} has the unknown type {kind}")
        return self.number("<" + SCALARS[kind], f"the value of {key!r}")

    def _array(self, key: str) -> Any:
        kind, count = self.number("<I"), self.number("<Q", f"the length of {key!r}")
        begin = self.at
        if kind == STRING:
            self._skip_strings(count, key)
        elif kind in SCALARS:
            self.take(count * struct.calcsize(SCALARS[kind]), f"the array {key!r}")
        else:
            raise GgufError(f"the array {key!r} has elements of the type {kind}, which arrays cannot hold")
        array = GgufArray(kind, count, begin, self.at - begin, self.source)
        if count > SHORT_ARRAY:
            return array
        return GgufArray(kind, count, 0, self.at - begin, lambda _, size: bytes(self.view[begin : begin + size])).values()

    def _skip_strings(self, count: int, key: str) -> None:
        """Vocabularies have hundreds of thousands of strings: this loop is most of the time that a header takes."""
        if count * 8 > self.limit - self.at:
            raise GgufError(f"the array {key!r} of {count} strings goes beyond the header's end")
        at, end, length_at = self.at, len(self.view), struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                break
            at += 8 + length_at(self.view, at)[0]
        else:
            self.take(at - self.at, f"the array {key!r}")
            return
        self.take(at + 8 - self.at, f"the array {key!r}")

    def _tensor(self) -> Tensor:
        name = self.string("a tensor's name")
        dimensions = self.number("<I", f"the rank of {name!r}")
        if dimensions > MOST_DIMENSIONS:
            raise GgufError(f"the tensor {name!r} has {dimensions} dimensions; at most {MOST_DIMENSIONS} are allowed")
        shape = tuple(int(self.number("<Q", f"the shape of {name!r}")) for _ in range(dimensions))
        kind, offset = self.number("<I", f"the type of {name!r}"), self.number("<Q", f"the offset of {name!r}")
        if kind not in TENSOR_TYPES:
            raise GgufError(f"the tensor {name!r} has the unknown type {kind}; a newer vllama may know it")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        return Tensor(name, shape, type_name, offset, math.prod(shape) // block * block_bytes)

    def _aligned(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 16:
            raise GgufError(f"general.alignment is {alignment!r}; it must be a small positive number")
        return -(-self.at // alignment) * alignment
