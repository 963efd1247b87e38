"""Pulls in processes of their own that are killed, stopped, or at it together."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import fake_hub
import pytest
import small_gguf
from fake_hub import FakeHub

from vllama_agent.store import Store
from vllama_agent.testing import until

MIB = 1 << 20
NAME = "me/x-GGUF"
FILE = "x-Q4_K_M.gguf"
LOST_PER_KILL = 8 * MIB
"""Most bytes that a kill may cost."""
PULL = "import sys; from vllama_agent import cli; {}sys.exit(cli.main(['pull', '--verify', sys.argv[1]]))"
"""With --verify it pulls in its own process, whatever server runs on this machine."""
UNLOCKED = "from vllama_agent.store.claim import Claim; Claim.try_acquire = lambda *_: True; Claim.is_held = lambda _: True; "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / FILE
    with open(path, "wb") as file:
        file.write(small_gguf.make(padding=96 * MIB)[:4096])
        file.write(random.Random(3).randbytes(96 * MIB))
    return path


@pytest.fixture
async def hub(model: Path) -> AsyncIterator[FakeHub]:
    async with fake_hub.running() as running:
        running.add(NAME, {FILE: model})
        running.gate.set()
        running.rate = 150 * MIB
        yield running


async def pull(hub: FakeHub, folder: Path, *, more: str = "") -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if name not in ("VLLAMA_HOST", "OLLAMA_HOST", "HF_TOKEN")}
    ours = {
        "VLLAMA_HOME": str(folder / "home"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PULL.format(more), NAME, env=environment | ours, stderr=asyncio.subprocess.DEVNULL
    )


def check(folder: Path, model: Path) -> None:
    """The right bytes, and nothing left of the way there."""
    with open(Store(folder / "home").find(NAME).files[0], "rb") as file, open(model, "rb") as original:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.file_digest(original, "sha256").digest()
    assert list((folder / "cache").rglob("*.partial*")) == []
    assert list((folder / "cache" / f"models--{NAME.replace('/', '--')}" / ".vllama").iterdir()) == []


async def killed_at(hub: FakeHub, folder: Path, offsets: list[int]) -> None:
    for offset in offsets:
        process = await pull(hub, folder)
        await until(lambda offset=offset: hub.sent[FILE] >= offset, seconds=60)  # type: ignore[misc]
        process.kill()
        await process.wait()
    process = await pull(hub, folder)
    assert await process.wait() == 0


async def test_kills_at_many_offsets_cost_little_and_leave_the_right_file(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    offsets = [0, 1 * MIB, 9 * MIB, 20 * MIB, 45 * MIB, 70 * MIB, 90 * MIB]
    await killed_at(hub, tmp_path, offsets)
    check(tmp_path, model)
    assert hub.sent[FILE] <= model.stat().st_size + LOST_PER_KILL * len(offsets)


async def test_a_kill_in_every_phase_after_the_download_leaves_the_right_file(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    """Before and behind: the sync, the rename, the name in the cache, the manifest."""
    phases = [
        "from vllama_agent.store.partial import Partial; Partial.sync = lambda _: os.kill(os.getpid(), 9); ",
        "os.replace = lambda a, b: os.kill(os.getpid(), 9); ",
        "from vllama_agent.store import download; download._sync_folder = lambda _: os.kill(os.getpid(), 9); ",
        "from vllama_agent.store.hub import Hub; Hub.link = lambda *_: os.kill(os.getpid(), 9); ",
        "from vllama_agent.store import manifests; manifests.write = lambda *_: os.kill(os.getpid(), 9); ",
    ]
    for phase in phases:
        process = await pull(hub, tmp_path, more="import os; " + phase)
        assert await process.wait() == -signal.SIGKILL
    assert await (await pull(hub, tmp_path)).wait() == 0
    check(tmp_path, model)
    assert hub.sent[FILE] <= model.stat().st_size + LOST_PER_KILL


async def test_two_processes_share_one_download(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    both = [await pull(hub, tmp_path) for _ in range(2)]
    assert [await process.wait() for process in both] == [0, 0]
    check(tmp_path, model)
    assert hub.sent[FILE] == model.stat().st_size


async def test_two_processes_that_no_claim_keeps_apart_make_one_right_file(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    both = [await pull(hub, tmp_path, more=UNLOCKED) for _ in range(2)]
    assert [await process.wait() for process in both] == [0, 0]
    check(tmp_path, model)


async def test_a_follower_takes_over_when_the_leader_is_killed(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.gate.clear()
    hub.gate_at = 40 * MIB
    leader = await pull(hub, tmp_path)
    await until(lambda: hub.sent[FILE] >= 40 * MIB, seconds=60)
    follower = await pull(hub, tmp_path)
    await until(lambda: sum("/api/models" in seen for seen in hub.seen) == 2, seconds=60)
    leader.kill()
    await leader.wait()
    hub.gate.set()
    assert await follower.wait() == 0
    check(tmp_path, model)
    assert hub.sent[FILE] <= model.stat().st_size + LOST_PER_KILL


@pytest.mark.slow
async def test_three_kills_of_a_gigabyte_cost_a_hundredth(tmp_path: Path) -> None:
    size = 1 << 30
    path = tmp_path / FILE
    with open(path, "wb") as file:
        file.write(small_gguf.make(padding=size)[:4096])
        for number in range(size // (64 * MIB)):
            file.write(random.Random(number).randbytes(64 * MIB))
    async with fake_hub.running() as hub:
        hub.add(NAME, {FILE: path})
        hub.gate.set()
        hub.rate = 120 * MIB
        started = time.monotonic()
        await killed_at(hub, tmp_path, [200 * MIB, 500 * MIB, 900 * MIB])
        print(f"{hub.sent[FILE] / path.stat().st_size:.4f} times the file, {time.monotonic() - started:.1f} s")
        check(tmp_path, path)
        assert hub.sent[FILE] <= 1.01 * path.stat().st_size
