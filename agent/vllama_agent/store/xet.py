"""A file of the hub by the hub's own downloader (hf-xet, which fetches only chunks that are not here yet), in a child process.

It tells nothing and resumes nothing: progress is the size of the file that it writes, and a new attempt begins anew. What it brings is laid
where our own download would be, whole and unverified; from there on it is hashed and published as everything is.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vllama_agent.store.children import Reporter
from vllama_agent.store.journal import Journal
from vllama_agent.store.wanted import Wanted
from vllama_core.errors import FetchFailed

RUNNER = Path(__file__).with_name("hub_child.py")
LOOK_SECONDS = 0.5
"""Between two looks at the file's size."""
STALL_SECONDS = 300.0
"""Without a new byte until the child is killed. It gathers chunks before it writes, so this is longer than for our own requests."""
INSTEAD = "without VLLAMA_XET the file is fetched by plain requests, which go on where they stopped"


async def fill(work: Path, wanted: Wanted, *, on_bytes: Callable[[int], None]) -> bool:
    """Bring a whole file into a work folder as if it had been fetched by us; True. Cancelling kills the child.

    :raises FetchFailed: it does not come.
    """
    assert wanted.hub_file is not None
    folder = work / "hub"
    await asyncio.to_thread(_emptied, folder)
    file = wanted.hub_file
    settings = {"repo": file.repo, "path": file.path, "commit": file.commit, "folder": str(folder)}
    secrets = {"HF_ENDPOINT": file.endpoint, "HF_TOKEN": file.token}
    child = await Reporter.start(sys.executable, "-I", str(RUNNER), json.dumps(settings), environment=secrets)
    telling = asyncio.create_task(_told(child, wanted), name=f"hub's downloader {wanted.checksum[:12]}")
    watching = asyncio.create_task(_watch(folder, wanted, on_bytes), name=f"watch {wanted.checksum[:12]}")
    try:
        await asyncio.wait([telling, watching], return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            raise FetchFailed(f"{wanted.origin.shown}: the hub's downloader brought no byte for {STALL_SECONDS:g} seconds; {INSTEAD}")
        await asyncio.to_thread(_laid, Path(telling.result()), work, wanted)
    finally:
        for task in (telling, watching):
            task.cancel()
        await asyncio.gather(telling, watching, return_exceptions=True)
        await child.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return True


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _told(child: Reporter, wanted: Wanted) -> str:
    """The path of the file."""
    async for message in child.messages(what="the hub's downloader", most_silence=None):  # `_watch` sees whether it does anything
        if message["t"] == "done":
            return str(message["path"])
        raise FetchFailed(f"{wanted.origin.shown} cannot be fetched by the hub's downloader: {message['message']}; {INSTEAD}")
    code = await child.ended()
    raise FetchFailed(f"{wanted.origin.shown}: the hub's downloader ended with status {code}; {INSTEAD}")


async def _watch(folder: Path, wanted: Wanted, on_bytes: Callable[[int], None]) -> None:
    """Ends when nothing has come for long."""
    clock = asyncio.get_running_loop().time
    seen, since = 0, clock()
    while clock() - since < STALL_SECONDS:
        size = await asyncio.to_thread(_size, folder)
        if size > seen:
            seen, since = size, clock()
            on_bytes(min(seen, wanted.size))
        await asyncio.sleep(LOOK_SECONDS)


def _size(folder: Path) -> int:
    """Bytes on the disk: a file may be made as long as it will be before anything is in it."""
    found = 0
    for path in folder.rglob("*.incomplete"):
        with suppress(FileNotFoundError):  # it has just got its name
            found = max(found, path.stat().st_blocks * 512)
    return found


def _laid(found: Path, work: Path, wanted: Wanted) -> None:
    """To where a partial file lies, with a journal that counts all of it."""
    size = found.stat().st_size
    if size != wanted.size:
        raise FetchFailed(f"{wanted.origin.shown} has {size} bytes by the hub's downloader and should have {wanted.size}; {INSTEAD}")
    os.replace(found, work / "data")
    journal = Journal(work / "journal", size=size)
    journal.wrote(0, size)
    journal.close()
