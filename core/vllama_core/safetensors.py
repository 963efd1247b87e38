"""The header of a safetensors file: names, types and shapes of its tensors. Pure.

Eight bytes hold the header's length (little-endian), then comes JSON. https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

LENGTH_BYTES = 8
LARGEST_HEADER = 100_000_000
"""Bytes. The limit of the format's own library."""


class SafetensorsError(ValueError):
    """The bytes are no safetensors header."""


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What the beginning of a safetensors file says.

    :ivar shapes: name: shape, of every tensor.
    :ivar data_end: bytes that a whole file has.
    :ivar types: name: type, such as ``BF16``, of every tensor.
    :ivar sizes: name: bytes, of every tensor.
    """

    shapes: dict[str, tuple[int, ...]]
    data_end: int
    types: dict[str, str]
    sizes: dict[str, int]

    @property
    def parameter_count(self) -> int:
        """Values in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def header_size(beginning: bytes) -> int:
    """Bytes that the header takes, its length included.

    :param beginning: at least the first eight bytes of the file.
    :raises SafetensorsError: no file of this format begins so.
    """
    length = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if len(beginning) < LENGTH_BYTES or not 2 <= length <= LARGEST_HEADER:
        raise SafetensorsError("it does not begin like a safetensors file")
    return LENGTH_BYTES + length


def parse(header: bytes) -> SafetensorsHeader:
    """Read a header.

    :param header: the file's first `header_size` bytes.
    :raises SafetensorsError: they are no header.
    """
    size = header_size(header)
    if len(header) < size:
        raise SafetensorsError(f"the file ends within its header of {size} bytes")
    try:
        entries: dict[str, Any] = json.loads(header[LENGTH_BYTES:size])
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in tensors.items()}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        types = {name: str(entry["dtype"]) for name, entry in tensors.items()}
        sizes = {name: int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]) for name, entry in tensors.items()}
        if min(sizes.values(), default=0) < 0:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise SafetensorsError(f"its header is broken ({type(error).__name__})") from None
    return SafetensorsHeader(shapes=shapes, data_end=size + end, types=types, sizes=sizes)
