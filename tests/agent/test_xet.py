"""The hub's own downloader in a child process: watched from outside, killed when nobody waits, verified as everything."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import descendants
import fake_hub
import psutil
import pytest
from fake_hub import FakeHub

from vllama_agent.store import children, download, xet
from vllama_agent.store.hub import Hub
from vllama_agent.store.wanted import Wanted
from vllama_agent.testing import until
from vllama_core.errors import ConfigError, FetchFailed

MIB = 1 << 20
DATA = random.Random(7).randbytes(32 * MIB)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    monkeypatch.setattr(xet, "LOOK_SECONDS", 0.01)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    async with fake_hub.running() as running:
        running.add("me/model", {"m.gguf": DATA, "config.json": b"{}"}, gated=True)
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def wanted(hub: FakeHub, folder: Path, *, path: str = "m.gguf", token: str = "hf_right") -> Wanted:
    client = Hub(endpoint=hub.endpoint, cache=folder / "cache", token=token, xet=True)
    repository = await client.repository("me/model")
    return client.wanted(repository, repository.files[path])


def downloaders() -> list[psutil.Process]:
    return descendants.named("hub_child.py")


async def test_a_file_comes_by_the_hubs_downloader_and_is_published_in_its_place(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file, seen = await wanted(hub, tmp_path), list[int]()
    hub.gate_at = 28 * MIB  # the library writes 10 MiB at once
    fetching = asyncio.create_task(download.fetch(session, file, on_bytes=seen.append))
    await until(lambda: any(0 < size < len(DATA) for size in seen), seconds=20)
    assert not any("hf_right" in word for child in downloaders() for word in child.cmdline())
    hub.gate.set()
    await fetching
    assert file.target.read_bytes() == DATA
    assert seen[-1] == len(DATA)
    assert hub.ranges == []
    assert list(file.partials.iterdir()) == []
    assert "hf_right" not in repr(file)


UPLOAD = """
import sys, hf_xet
with hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1], token="chunks", token_expiry_unix_secs=4102444800) as commit:
    upload = commit.start_upload_file(sys.argv[2])
print(upload.result().xet_info.hash)
"""
"""Into a storage of chunks that is a folder; in a process of its own, because the library starts threads that stay."""


async def test_the_real_library_fetches_chunks_and_nothing_comes_by_plain_requests(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "chunks"))
    (tmp_path / "m.gguf").write_bytes(DATA)
    hub.xet_storage = f"local://{tmp_path}/storage"
    command = [sys.executable, "-c", UPLOAD, hub.xet_storage, str(tmp_path / "m.gguf")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=True)
    hub.xet["m.gguf"] = done.stdout.strip()
    file = await wanted(hub, tmp_path)
    await download.fetch(session, file, on_bytes=lambda _: None)
    assert file.target.read_bytes() == DATA
    assert hub.sent["m.gguf"] == 0


async def test_small_files_come_by_our_own_requests(hub: FakeHub, tmp_path: Path) -> None:
    assert (await wanted(hub, tmp_path, path="config.json")).hub_file is None


async def test_who_cancels_kills_the_child(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    file = await wanted(hub, tmp_path)
    hub.gate_at = 4 * MIB
    fetching = asyncio.create_task(download.fetch(session, file, on_bytes=lambda _: None))
    await until(lambda: hub.sent["m.gguf"] >= 4 * MIB, seconds=20)
    assert downloaders()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert downloaders() == []
    assert not file.target.exists()


async def test_wrong_bytes_get_no_name(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.wrong.add("m.gguf")
    file = await wanted(hub, tmp_path)
    with pytest.raises(FetchFailed, match="sent wrong bytes"):
        await download.fetch(session, file, on_bytes=lambda _: None)
    assert not file.target.exists()
    assert list(file.partials.iterdir()) == []


async def test_a_refusal_is_told_with_the_other_way(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    file = await wanted(hub, tmp_path, token="hf_wrong")
    with pytest.raises(FetchFailed, match=r"cannot be fetched by the hub's downloader: .*; without VLLAMA_XET") as told:
        await download.fetch(session, file, on_bytes=lambda _: None)
    assert "hf_wrong" not in str(told.value)


async def test_a_child_that_brings_nothing_is_ended(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await wanted(hub, tmp_path)
    monkeypatch.setattr(xet, "STALL_SECONDS", 0.05)
    hub.gate_at = 0
    with pytest.raises(FetchFailed, match="brought no byte for"):
        await download.fetch(session, file, on_bytes=lambda _: None)
    assert downloaders() == []


async def test_a_download_that_takes_long_is_no_silent_child(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is done the child says nothing, and a large file takes longer than a converter may be silent."""
    monkeypatch.setattr(children, "SILENCE_SECONDS", 0.01)
    file, seen = await wanted(hub, tmp_path), list[int]()
    hub.gate_at = 28 * MIB
    fetching = asyncio.create_task(download.fetch(session, file, on_bytes=seen.append))
    await until(lambda: any(0 < size < len(DATA) for size in seen), seconds=20)
    hub.gate.set()
    await fetching
    assert file.target.read_bytes() == DATA


async def test_what_our_own_requests_began_they_finish(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    file = await wanted(hub, tmp_path)
    work = file.partials / file.checksum / "work.dead"
    work.mkdir(parents=True)
    (work / "data").write_bytes(DATA[:MIB])
    journal = xet.Journal(work / "journal", size=len(DATA))
    journal.wrote(0, MIB)
    journal.close()
    await download.fetch(session, file, on_bytes=lambda _: None)
    assert file.target.read_bytes() == DATA
    assert hub.sent["m.gguf"] == len(DATA) - MIB


def test_without_the_package_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="VLLAMA_XET is set, and hf-xet is not installed; pip install hf-xet, or unset"):
        Hub.from_environment(xet=True)
