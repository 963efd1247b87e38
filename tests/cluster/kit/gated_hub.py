"""A hub that pods can reach, with one gated repository: `python -m kit.gated_hub FILE`, run where pods are.

It says where it is in a line, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import fake_hub
from kit import network

REPOSITORY = "org/gated-GGUF"
RATE = 25e6
"""Bytes a second: the demo model takes ten seconds, in which people can see how far it is."""
TOKEN = fake_hub.FakeHub.token
"""The one that opens it."""


async def main(file: Path) -> None:
    hub = fake_hub.FakeHub(rate=RATE)
    hub.gate.set()
    hub.add(REPOSITORY, {"gated-Q4_K_M.gguf": file}, gated=True)
    async with fake_hub.running(hub, host=network.CONTROL_PLANE_IP):
        print(hub.endpoint, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
