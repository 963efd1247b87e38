"""Models that were asked for at the start and are not here: found at once, fetched while the agent already answers its probes.

Knows nothing of hubs; who finds and fetches is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from vllama_agent.store.events import Event, OnEvent, Progress
from vllama_core import human
from vllama_core.errors import ModelNotFound, VllamaError
from vllama_core.model_form import Form
from vllama_core.progress import Failure, Meter

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds between attempts; doubled each time. What has arrived is kept from one to the next."""


@runtime_checkable
class Fetch(Protocol):
    """A model that is not here and can be had."""

    @property
    def name(self) -> str: ...
    @property
    def ref(self) -> str: ...
    async def run(self, on_event: OnEvent, /) -> None: ...


Find = Callable[[str, Form | None], Awaitable[Fetch]]
"""Asks where a model is, in a form if one is wanted. Raises ModelNotFound, ConfigError or FetchFailed."""


class Fetches:
    """Fetches that go on.

    :param find: None: nothing is fetched.
    """

    def __init__(self, find: Find | None) -> None:
        self._find = find
        self._told: dict[str, str] = {}

    @property
    def waiting(self) -> str | None:
        """How far the first of them is, or why it does not get on; None: there are none."""
        return next(iter(self._told.values()), None)

    async def find(self, ref: str, missing: ModelNotFound, form: Form | None = None) -> Fetch:
        """Where a model is.

        :param form: in which alone it can be used.
        :param missing: raised where nothing is fetched.
        """
        if self._find is None:
            raise missing
        shown = ref.partition("?")[0]  # a query may hold a signature
        self._told[shown] = f"{shown} is being looked for"  # the server already answers its probes
        try:
            found = await self._find(ref, form)
        finally:
            del self._told[shown]
        self._told[found.name] = f"{found.name} is being fetched"
        return found

    async def run(self, fetch: Fetch) -> None:
        """Until it is here, however often that takes."""
        wait, meter, clock = FIRST_RETRY, Meter(), asyncio.get_running_loop().time
        try:
            while True:
                try:
                    return await fetch.run(lambda event: self._tell(fetch, event, meter, clock()))
                except VllamaError as error:
                    self._told[fetch.name] = f"{fetch.name} could not be fetched: {error}"
                    failure = Failure.of(error).as_fields()
                    log.warning(
                        "a model is not here yet: %s", error, extra={"model": fetch.name, "retry_seconds": wait, "failure": failure}
                    )
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LAST_RETRY)
        finally:
            del self._told[fetch.name]

    def _tell(self, fetch: Fetch, event: Event, meter: Meter, now: float) -> None:
        """Whoever asks is told at once; the log, which a cluster's operator reads, now and then."""
        if isinstance(event, Progress):
            far = f"{fetch.name} is being fetched: {human.size(event.completed)} of {human.size(event.total)}"
            self._told[fetch.name] = far
            progress = meter.note(event.digest, completed=event.completed, total=event.total, now=now)
            if progress is not None:
                log.info("%s", far, extra={"progress": progress.as_fields()})
