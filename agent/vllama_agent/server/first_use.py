"""The first use of a name over HTTP fetches its model, where `serve --pull` allows it.

Off by default: Ollama answers 404 then, which its clients take as their cue to pull with a progress bar; and a name that is mistyped, or
made up by a stranger, should not fill a disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vllama_agent.pool import key_of
from vllama_agent.store.events import Event, OnEvent, Progress
from vllama_core import human
from vllama_core.errors import Busy, VllamaError

log = logging.getLogger(__name__)

WAIT_SECONDS = 30.0
"""For which a request waits for its model. Small ones are here by then; clients and balancers give up on a silent answer after a minute."""
RETRY_SECONDS = 10
"""After which a client that was sent away should ask again."""
MOST_AT_ONCE = 2
"""Models: one line carries no more, and names that are tried out must not start any number of downloads."""

Fetch = Callable[[str, OnEvent], Awaitable[None]]


class FirstUse:
    """Fetches that requests began. They go on when the requests have left, and end with `close`.

    :param fetch: brings a name's model, and gives it its name.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._running: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}

    async def fetched(self, asked: str) -> None:
        """Wait until a model is here. Requests for the same name wait for the same fetch.

        :raises Busy: it takes longer, or too many others are being fetched.
        :raises ModelNotFound, ConfigError, FetchFailed, NoSpace, ConversionFailed: it cannot be had.
        """
        key = key_of(asked)
        task = self._running.get(key) or self._begin(key, asked)
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if not task.done():
            raise Busy(f"{asked} is being fetched{self._told.get(key, '')}; try again in a moment", retry_after=RETRY_SECONDS)
        task.result()

    async def close(self) -> None:
        """End them all; what has arrived is kept."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, asked: str) -> asyncio.Task[None]:
        if len(self._running) >= MOST_AT_ONCE:
            raise Busy(f"{asked} is not here, and {MOST_AT_ONCE} other models are being fetched already", retry_after=RETRY_SECONDS)
        log.info("fetching a model at its first use", extra={"model": asked})
        task = asyncio.create_task(self._run(key, asked), name=f"first use of {key}")
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # whoever waited may have left
        self._running[key] = task
        return task

    async def _run(self, key: str, asked: str) -> None:
        def tell(event: Event) -> None:
            if isinstance(event, Progress):
                self._told[key] = f": {human.size(event.completed)} of {human.size(event.total)}"

        try:
            await self._fetch(asked, tell)
        except VllamaError as error:
            log.warning("a model could not be fetched at its first use: %s", error, extra={"model": asked})
            raise
        finally:
            del self._running[key]
            self._told.pop(key, None)
