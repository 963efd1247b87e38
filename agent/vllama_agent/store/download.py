"""One file, fetched once: by this process, or by whichever other one is already at it.

The folder of a file on its way is named after its checksum and lies in the file system of its target, so that publishing is a rename.
Below it, a claim (see `claim`) and a folder ``work.TOKEN`` with the bytes and their journal. Whoever takes over a dead owner's work
renames that folder: one can, and who comes too late starts anew. Two that both believe to own write two files; the first that is
whole and has the right checksum is published, the other is the same.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from vllama_agent.store import xet
from vllama_agent.store.claim import BEAT_SECONDS, Claim
from vllama_agent.store.journal import Follower
from vllama_agent.store.partial import Partial
from vllama_agent.store.transfer import STREAMS, Transfer
from vllama_agent.store.waiting import to_the_end
from vllama_agent.store.wanted import Wanted, completed, is_here, place_of, works
from vllama_core.errors import FetchFailed

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Between a follower's looks at the leader's journal."""
MOST_LOSSES = 20
"""How often work may be taken over by others before that is an error: once is usual where claims exclude nobody."""
READABLE = 0o644
T = TypeVar("T")
OnBytes = Callable[[int], None]


async def fetch(session: aiohttp.ClientSession, wanted: Wanted, *, on_bytes: OnBytes, streams: int = STREAMS, unit: float = 1.0) -> None:
    """Bring a file to its target, or wait until another process has. Cancelling keeps what has arrived.

    :param on_bytes: called with the bytes that are here.
    :param unit: scales pauses; tests make them short.
    :raises FetchFailed: the source does not give the bytes, or gives wrong ones.
    """
    folder = wanted.partials / wanted.checksum
    claim, losses, leader = Claim(folder), 0, _Leader(folder, wanted.size)
    while not is_here(wanted):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if await _acquired(claim):
                await _claimed(session, wanted, claim, on_bytes=on_bytes, streams=streams, unit=unit)
                continue
            on_bytes(await asyncio.to_thread(leader.completed))
        except FileNotFoundError as error:  # another process published the file and removed the folder, or took the work over
            losses += 1
            if losses > MOST_LOSSES:
                raise FetchFailed(f"{error.filename} vanishes again and again; does something else remove files there?") from error
        await asyncio.sleep(POLL_SECONDS * unit)
    await asyncio.to_thread(_sweep, folder)
    on_bytes(wanted.size)


class _Leader:
    """Whoever fetches the file that is waited for, seen by its journal. It blocks."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._journals: dict[Path, Follower] = {}

    def completed(self) -> int:
        """Bytes that are here: where two believe to lead, of the one that is further."""
        found = works(self._folder)
        self._journals = {work: self._journals.get(work) or Follower(work / "journal", size=self._size) for work in found}
        return max((followed.completed() for followed in self._journals.values()), default=0)


async def _acquired(claim: Claim) -> bool:
    try:
        return await to_the_end(asyncio.to_thread(claim.try_acquire, asyncio.get_running_loop().time()))
    except asyncio.CancelledError:
        claim.release()
        raise


def _sweep(folder: Path) -> None:
    """Remove what a process left that was killed between publishing a file and tidying up."""
    with suppress(FileNotFoundError):
        if folder.is_dir() and Claim(folder).try_acquire(0.0):
            shutil.rmtree(folder)


async def _claimed(session: aiohttp.ClientSession, wanted: Wanted, claim: Claim, *, on_bytes: OnBytes, streams: int, unit: float) -> None:
    """Lead, unless the file appeared before the claim was had."""
    try:
        if not is_here(wanted):
            await _lead(session, wanted, claim, on_bytes=on_bytes, streams=streams, unit=unit)
    finally:
        claim.release()
        with suppress(OSError):  # it is empty unless something is left to resume
            (wanted.partials / wanted.checksum).rmdir()


async def _lead(session: aiohttp.ClientSession, wanted: Wanted, claim: Claim, *, on_bytes: OnBytes, streams: int, unit: float) -> None:
    work = await to_the_end(asyncio.to_thread(_adopted, wanted.partials / wanted.checksum, claim.owner.token))
    by_the_hubs_own = wanted.hub_file is not None and not await asyncio.to_thread(completed, work, wanted.size)
    if by_the_hubs_own and await _while_held(claim, xet.fill(work, wanted, on_bytes=on_bytes), wanted) is None:
        return
    async with _partial(work, wanted) as partial:
        on_bytes(partial.completed)
        transfer = Transfer(session, wanted.origin, partial, on_bytes=on_bytes, streams=streams, unit=unit)
        checksum = await _while_held(claim, transfer.run(), wanted)
        if checksum is None:
            return
        if wanted.is_known and checksum != wanted.checksum:
            await to_the_end(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))
            raise FetchFailed(
                f"{wanted.origin.shown} sent wrong bytes: their checksum is {checksum}, it should be {wanted.checksum}; "
                "they are removed, pull again"
            )
        await to_the_end(asyncio.to_thread(_publish, partial, wanted, checksum))


async def _while_held(claim: Claim, work: Coroutine[Any, Any, T], wanted: Wanted) -> T | None:
    """What the work gives; None: the claim was lost meanwhile, and the work is ended."""
    fetching = asyncio.create_task(work, name=f"fetch {wanted.checksum[:12]}")
    beating = asyncio.create_task(_beat(claim), name=f"claim {wanted.checksum[:12]}")
    try:
        done, _ = await asyncio.wait([fetching, beating], return_when=asyncio.FIRST_COMPLETED)
        if fetching in done:
            return fetching.result()
        log.warning("another process took over a download that this one held", extra={"file": wanted.target.name})
        return None
    finally:
        for task in (fetching, beating):
            task.cancel()
        await asyncio.gather(fetching, beating, return_exceptions=True)


async def _beat(claim: Claim) -> None:
    """Ends when the claim is lost."""
    while await asyncio.to_thread(claim.is_held):  # noqa: ASYNC110  the claim is a file, which has no event
        await asyncio.sleep(BEAT_SECONDS)


@asynccontextmanager
async def _partial(folder: Path, wanted: Wanted) -> AsyncIterator[Partial]:
    """Open what is there, in a thread: the journal of a large file has a hundred thousand lines."""
    opening = asyncio.ensure_future(asyncio.to_thread(_opened, folder, wanted))
    try:
        partial = await to_the_end(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            opening.result().close()
        raise
    try:
        yield partial
    finally:
        partial.close()
        if not partial.completed:  # access was refused, for instance: there is nothing to resume
            shutil.rmtree(folder, ignore_errors=True)


def _opened(folder: Path, wanted: Wanted) -> Partial:
    """Damaged beyond its journal, it is begun anew."""
    try:
        return Partial(folder, size=wanted.size, checksum=wanted.checksum)
    except OSError as error:
        log.warning("a partial file cannot be used (%s); it is fetched anew", error)
        shutil.rmtree(folder, ignore_errors=True)
        return Partial(folder, size=wanted.size, checksum=wanted.checksum)


def _adopted(folder: Path, token: str) -> Path:
    """A folder for the claim's owner: the work that is furthest, left by a dead owner, else a new one."""
    mine = folder / f"work.{token}"
    for work in sorted(works(folder), key=_progress, reverse=True):
        with suppress(OSError):  # another one was quicker
            os.rename(work, mine)
            break
    return mine


def _progress(work: Path) -> int:
    try:
        return (work / "journal").stat().st_size
    except OSError:
        return 0


def _publish(partial: Partial, wanted: Wanted, checksum: str) -> None:
    """The bytes first to the disk, then to their name; a power cut leaves the one or the other.

    :raises FileNotFoundError: another process took this work over; then the file is published by that one.
    """
    partial.sync()
    partial.make_readable(READABLE)
    target = place_of(wanted, checksum)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not partial.is_ours():
        raise FileNotFoundError(errno.ENOENT, "it was taken over", str(partial.path))
    os.replace(partial.path, target)
    _sync_folder(target.parent)
    if wanted.record is not None:
        _note(wanted.record, checksum)
    shutil.rmtree(wanted.partials / wanted.checksum, ignore_errors=True)


def _note(record: Path, checksum: str) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    scratch = record.with_name(f".{record.name}.{os.getpid()}")
    scratch.write_text(checksum)
    os.replace(scratch, record)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
