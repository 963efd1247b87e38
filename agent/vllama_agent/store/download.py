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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

from vllama_agent.store.claim import BEAT_SECONDS, Claim
from vllama_agent.store.partial import Partial
from vllama_agent.store.transfer import STREAMS, Transfer
from vllama_agent.store.waiting import to_the_end
from vllama_agent.store.wanted import Wanted, completed, is_here, works
from vllama_core.errors import FetchFailed

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Between a follower's looks at the leader's journal."""
MOST_LOSSES = 20
"""How often work may be taken over by others before that is an error: once is usual where claims exclude nobody."""
READABLE = 0o644


OnBytes = Callable[[int], None]


async def fetch(session: aiohttp.ClientSession, wanted: Wanted, *, on_bytes: OnBytes, streams: int = STREAMS, unit: float = 1.0) -> None:
    """Bring a file to its target, or wait until another process has. Cancelling keeps what has arrived.

    :param on_bytes: called with the bytes that are here.
    :param unit: scales pauses; tests make them short.
    :raises FetchFailed: the source does not give the bytes, or gives wrong ones.
    """
    folder = wanted.partials / wanted.checksum
    claim, losses = Claim(folder), 0
    while not is_here(wanted):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if await _acquired(claim):
                await _claimed(session, wanted, claim, on_bytes=on_bytes, streams=streams, unit=unit)
                continue
            on_bytes(max((completed(work, wanted.size) for work in works(folder)), default=0))
        except FileNotFoundError as error:  # another process published the file and removed the folder, or took the work over
            losses += 1
            if losses > MOST_LOSSES:
                raise FetchFailed(f"{error.filename} vanishes again and again; does something else remove files there?") from error
        await asyncio.sleep(POLL_SECONDS * unit)
    await asyncio.to_thread(_sweep, folder)
    on_bytes(wanted.size)


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
    folder = wanted.partials / wanted.checksum
    with _partial(_adopted(folder, claim.owner.token), wanted) as partial:
        on_bytes(partial.completed)
        transfer = Transfer(session, wanted.origin, partial, on_bytes=on_bytes, streams=streams, unit=unit)
        fetching = asyncio.create_task(transfer.run(), name=f"fetch {wanted.checksum[:12]}")
        beating = asyncio.create_task(_beat(claim), name=f"claim {wanted.checksum[:12]}")
        try:
            done, _ = await asyncio.wait([fetching, beating], return_when=asyncio.FIRST_COMPLETED)
            if fetching not in done:
                log.warning("another process took over a download that this one held", extra={"file": wanted.target.name})
                return
            checksum = fetching.result()
        finally:
            for task in (fetching, beating):
                task.cancel()
            await asyncio.gather(fetching, beating, return_exceptions=True)
        if wanted.is_known and checksum != wanted.checksum:
            shutil.rmtree(partial.path.parent, ignore_errors=True)
            raise FetchFailed(
                f"{wanted.origin.shown} sent wrong bytes: their checksum is {checksum}, it should be {wanted.checksum}; "
                "they are removed, pull again"
            )
        await to_the_end(asyncio.to_thread(_publish, partial, wanted))


async def _beat(claim: Claim) -> None:
    """Ends when the claim is lost."""
    while await asyncio.to_thread(claim.is_held):  # noqa: ASYNC110  the claim is a file, which has no event
        await asyncio.sleep(BEAT_SECONDS)


@contextmanager
def _partial(folder: Path, wanted: Wanted) -> Iterator[Partial]:
    """Open what is there. Damaged beyond its journal, it is begun anew."""
    try:
        partial = Partial(folder, size=wanted.size, checksum=wanted.checksum)
    except OSError as error:
        log.warning("a partial file cannot be used (%s); it is fetched anew", error)
        shutil.rmtree(folder, ignore_errors=True)
        partial = Partial(folder, size=wanted.size, checksum=wanted.checksum)
    try:
        yield partial
    finally:
        partial.close()


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


def _publish(partial: Partial, wanted: Wanted) -> None:
    """The bytes first to the disk, then to their name; a power cut leaves the one or the other.

    :raises FileNotFoundError: another process took this work over; then the file is published by that one.
    """
    partial.sync()
    partial.make_readable(READABLE)
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    if not partial.is_ours():
        raise FileNotFoundError(errno.ENOENT, "it was taken over", str(partial.path))
    os.replace(partial.path, wanted.target)
    _sync_folder(wanted.target.parent)
    shutil.rmtree(wanted.partials / wanted.checksum, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
