"""Settings, a client and small files that all tests of the agent share."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import small_gguf
from hypothesis import settings

from vllama_agent.store import manifests
from vllama_core.modelref import ModelName

# The default deadline of 200 ms an example fails on a machine that is busy with something else, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def gguf() -> Callable[..., bytes]:
    """Makes GGUF files of some hundred bytes."""
    return small_gguf.make


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
