"""Settings, a client and small files that all tests of the agent share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import small_gguf
import small_store


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
    """See `small_store.put`."""
    return small_store.put
