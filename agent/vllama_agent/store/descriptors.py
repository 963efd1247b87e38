"""What a registry's manifest says of a blob, Ollama's and OCI's alike. Pure.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllama_agent.store.digests import is_digest


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob.

    :ivar media_type: without parameters.
    :ivar digest: sha256 in hexadecimal.
    :ivar size: bytes.
    """

    media_type: str
    digest: str
    size: int


def parse(fields: Mapping[str, Any]) -> Descriptor:
    """Read one.

    :raises ValueError, KeyError, TypeError: it is none, or has another kind of digest.
    """
    algorithm, _, digest = str(fields["digest"]).partition(":")
    size = int(fields["size"])
    if algorithm != "sha256" or not is_digest(digest) or size < 0:
        raise ValueError(f"{fields['digest']!r} of {size} bytes is no layer")
    return Descriptor(str(fields["mediaType"]).partition(";")[0].strip(), digest, size)
