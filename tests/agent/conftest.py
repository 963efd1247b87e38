"""Settings and small files that all tests of the agent share."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from vllama_agent.store import manifests
from vllama_core.modelref import ModelName

# The default deadline of 200 ms an example fails on a machine that is busy with something else, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _pair(key: str, value: int | str) -> bytes:
    return _text(key) + (struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<II", 4, value))


def gguf_bytes(architecture: str = "llama", *, tensor: str = "t", **metadata: int | str) -> bytes:
    """A whole GGUF file with one tensor of 32 numbers; in the names of keys, two underscores stand for a dot."""
    pairs = {"general.architecture": architecture} | {key.replace("__", "."): value for key, value in metadata.items()}
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(_pair(*pair) for pair in pairs.items())
    head += _text(tensor) + struct.pack("<IQIQ", 1, 32, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(range(128))


@pytest.fixture
def gguf() -> Callable[..., bytes]:
    """Makes GGUF files of some hundred bytes."""
    return gguf_bytes


@pytest.fixture
def put() -> Callable[..., str]:
    """Puts bytes into a home as a blob and, with a name, as a model; their sha256."""

    def write(home: Path, content: bytes, name: str | None = None, **told: Any) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = manifests.blob(home, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if name is not None:
            parsed = ModelName.parse(name)
            assert parsed is not None
            source = manifests.Source(kind="url", ref=f"https://example.com/{name}.gguf")
            file = manifests.FileRef(digest=digest, size=len(content))
            manifests.write(home, manifests.Manifest(**{"name": parsed, "files": (file,), "source": source} | told))
        return digest

    return write
