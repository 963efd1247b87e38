"""How fast a file comes from a hub on this machine: `vllama pull` beside huggingface_hub alone, both as processes, in turns.

    python -m bench.download [MEGABYTES] [ROUNDS]

The hub serves from memory over loopback, so this measures the clients. Ours also hashes the file and syncs it to the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import fake_hub
import small_gguf

NAME, FILE = "me/x-GGUF", "x-Q4_K_M.gguf"
OURS = "from vllama_agent import cli; cli.main(['pull', '--verify', 'me/x-GGUF'])"  # --verify: here, not through a server
THEIRS = "from huggingface_hub import hf_hub_download; hf_hub_download('me/x-GGUF', 'x-Q4_K_M.gguf')"


async def _seconds(hub: fake_hub.FakeHub, script: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        ours = {
            "HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": f"{folder}/cache", "VLLAMA_HOME": f"{folder}/home", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, env=os.environ | ours, stderr=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        return time.monotonic() - started


async def measure(megabytes: int, rounds: int) -> None:
    """Print the median seconds of both, and their ratio."""
    data = small_gguf.make(padding=megabytes * 10**6)[:4096] + random.Random(1).randbytes(10**6) * megabytes
    async with fake_hub.running() as hub:
        hub.add(NAME, {FILE: data})
        hub.gate.set()
        times: dict[str, list[float]] = {"vllama": [], "huggingface_hub": []}
        for _ in range(rounds):
            for name, script in (("vllama", OURS), ("huggingface_hub", THEIRS)):
                times[name].append(await _seconds(hub, script))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, seconds in medians.items():
        print(f"{name:<16} {seconds:6.2f} s  {megabytes / seconds:7.0f} MB/s")
    print(f"ratio            {medians['huggingface_hub'] / medians['vllama']:6.2f}")


if __name__ == "__main__":
    asyncio.run(measure(*(int(word) for word in (*sys.argv[1:3], *("500", "5")[len(sys.argv) - 1 :]))))
