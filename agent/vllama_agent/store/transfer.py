"""Bytes by ranged requests, several at once, into a partial file.

A cut, a stall or an overloaded source costs a pause and a new request for what is missing, never bytes that are here. Knows nothing
of hubs: a source is an address with headers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from vllama_agent.store import disk, range_answers, remote
from vllama_agent.store.origin import CONNECT_SECONDS, REFUSED, Access, Origin
from vllama_agent.store.partial import Partial
from vllama_agent.store.range_answers import Again, NoRanges
from vllama_agent.store.ranges import Range
from vllama_agent.store.waiting import to_the_end
from vllama_core.errors import FetchFailed

STREAMS = 8
"""Requests at once for one file: one stream seldom fills a fast line, more make sources refuse."""
WRITE_BYTES = 256 << 10
"""Gathered before a write; the most that a stream loses when the process is killed."""
SYNC_BYTES = 64 << 20
"""Between two syncs of the disk; the most, roughly, that a power cut costs."""
SMALLEST_SEGMENT, LARGEST_SEGMENT = 8 << 20, 128 << 20
"""Bytes of one request: large enough that a request's round trips do not count, small enough that all streams end together."""
STALL_SECONDS = 30.0
"""Without a byte until a stream counts as dead, as Ollama has it."""
ATTEMPTS = 6
"""Failures in a row, none of them after new bytes, until a transfer is given up."""
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
"""Seconds between attempts; doubled each time."""
T = TypeVar("T")


class Transfer:
    """One file's missing bytes, on their way.

    :param on_bytes: called with the bytes that are here, after each write.
    :param unit: scales pauses; tests make them short.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: Origin,
        partial: Partial,
        *,
        on_bytes: Callable[[int], None],
        streams: int = STREAMS,
        unit: float = 1.0,
    ) -> None:
        self._session = session
        self._origin = origin
        self._partial = partial
        self._on_bytes = on_bytes
        self._unit = unit
        self._segments = segments(partial.missing(), streams)
        self._streams = max(1, min(streams, len(self._segments)))
        self._failures = 0
        self._unsynced = 0
        self._syncing = False
        self._direct: str | None = None
        self._access: Access | None = None
        self._proven: Access | None = None
        self._signing = asyncio.Lock()
        self._ranged = True
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(streams + 2, thread_name_prefix="download")

    async def run(self) -> str:
        """Fetch everything that is missing; the file's checksum.

        :raises FetchFailed: the source does not give the bytes.
        :raises NoSpace: there is no room.
        """
        try:
            try:
                return await self._all()
            except* NoRanges:
                self._ranged, self._streams, self._segments = False, 1, [(0, self._partial.size)]
            return await self._all()
        except BaseExceptionGroup as group:
            raise self._told(group) from None
        finally:
            await to_the_end(asyncio.to_thread(self._threads.shutdown))

    async def _all(self) -> str:
        async with asyncio.TaskGroup() as tasks:
            hashing = tasks.create_task(self._hash(), name="hash")
            for number in range(self._streams):
                tasks.create_task(self._stream(), name=f"stream {number}")
        return hashing.result()

    async def _hash(self) -> str:
        """Follow the bytes. The event is cleared before looking, so that none that arrives meanwhile goes unseen."""
        while True:
            self._arrived.clear()
            hashed, there = await self._in_thread(self._partial.hash_on)
            if hashed == self._partial.size:
                return self._partial.checksum()
            if hashed == there:
                await self._arrived.wait()

    async def _stream(self) -> None:
        while self._segments:
            at, end = self._segments.pop(0)
            try:
                await self._fetch(at, end)
            except Again as again:
                await self._pause(again)
            except (aiohttp.ClientError, TimeoutError) as error:
                await self._pause(Again(remote.why(error)))

    async def _fetch(self, start: int, end: int) -> None:
        """One request. What has not come is put back into the queue, whatever ends it."""
        buffer, at = bytearray(), start
        try:
            access = await self._granted()
            async with self._request(access, start, end) as response:
                self._check(response, start, access)
                async for chunk in response.content.iter_any():
                    buffer += chunk[: end - at - len(buffer)]
                    if len(buffer) >= WRITE_BYTES or at + len(buffer) == end:
                        data, offset, buffer, at = buffer, at, bytearray(), at + len(buffer)
                        await self._write(offset, data)
                    if at == end:
                        return
            if at < end:
                raise Again("the source ended the answer too early")
        finally:
            if buffer:
                self._partial.write(at, buffer)  # at most WRITE_BYTES: quicker than a thread when everything is being cancelled
                at += len(buffer)
            if at < end:
                self._segments.insert(0, (at if self._ranged else 0, end))

    async def _granted(self) -> Access:
        """The same for all streams, until it is refused; made anew by one of them."""
        async with self._signing:
            if self._access is None:
                self._access = await self._origin.access(self._proven)
            return self._access

    def _request(self, access: Access, start: int, end: int) -> aiohttp.client._RequestContextManager:
        """To where the source redirected the last time, if it did: a hub's redirects are signed and good for an hour."""
        headers = {"Accept-Encoding": "identity"}
        if self._ranged:
            headers["Range"] = f"bytes={start}-{end - 1}"
            if self._origin.etag:
                headers["If-Range"] = self._origin.etag
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS * self._unit)
        if self._direct is not None:
            return self._session.get(self._direct, headers=headers, timeout=timeout)
        # a signature holds for the address as it was signed, letter by letter
        url = URL(access.url, encoded=self._origin.sign is not None)
        return self._session.get(url, headers=headers | dict(access.headers), timeout=timeout)

    def _check(self, response: aiohttp.ClientResponse, start: int, access: Access) -> None:
        was_direct, self._direct = self._direct is not None, None
        if response.status in REFUSED and was_direct:
            raise Again("a signed address has expired")
        if response.status in REFUSED and self._has_ended(access):
            raise Again("access has ended and is asked for anew")
        range_answers.check(self._origin, response.status, response.headers, start=start, size=self._partial.size, is_ranged=self._ranged)
        self._proven = access
        if self._ranged and response.history:
            self._direct = str(response.url)

    def _has_ended(self, access: Access) -> bool:
        """Whether access that is refused now was good before: signatures and tokens last for minutes, downloads for hours."""
        if self._origin.sign is not None and self._access is access and self._proven is access:
            self._access = None
        return self._access is not access

    async def _write(self, offset: int, data: bytearray) -> None:
        if await self._in_thread(self._partial.write, offset, data):
            self._failures = 0  # only for bytes that are new: a source without ranges sends the same ones again after each cut
        self._unsynced += len(data)
        self._arrived.set()
        self._on_bytes(self._partial.completed)
        if self._unsynced >= SYNC_BYTES and not self._syncing:
            self._syncing, self._unsynced = True, 0
            try:
                await self._in_thread(self._partial.sync)
            finally:
                self._syncing = False

    async def _pause(self, again: Again) -> None:
        self._failures += 1
        if self._failures > ATTEMPTS * self._streams:
            raise FetchFailed(f"{self._origin.shown} cannot be fetched: {again}; try again later, what has arrived is kept")
        seconds = min(FIRST_PAUSE * 2 ** ((self._failures - 1) // self._streams), LAST_PAUSE)
        await asyncio.sleep(max(again.pause, seconds * random.uniform(0.5, 1.0)) * self._unit)

    def _told(self, group: BaseExceptionGroup[BaseException]) -> BaseException:
        """One error for all streams: the first that says what is wrong."""
        leaves = _leaves(group)
        for error in leaves:
            if isinstance(error, FetchFailed):
                return error
        problem = next((error for error in leaves if isinstance(error, OSError)), None)
        return group if problem is None else disk.failure(problem, self._partial.path.parent)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def segments(missing: list[Range], streams: int) -> list[Range]:
    """What is missing, cut into requests, the file's beginning first."""
    total = sum(end - start for start, end in missing)
    length = min(max(total // (streams * 4), SMALLEST_SEGMENT), LARGEST_SEGMENT)
    return [(at, min(at + length, end)) for start, end in missing for at in range(start, end, length)]


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
