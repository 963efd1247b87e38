"""Any name becomes a local model: found, fetched, verified, converted if it must be, and named.

Where it is looked for, `finding` knows; what must be fetched and what becomes of it, a plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from vllama_agent.store import disk, download
from vllama_agent.store import wanted as wanted_files
from vllama_agent.store.events import OnEvent, Progress, Status
from vllama_agent.store.finding import Finder
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library, Vanished
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.plans import Plan
from vllama_agent.store.sources import Sources
from vllama_agent.store.transfer import STREAMS
from vllama_agent.store.wanted import Wanted
from vllama_core.errors import FetchFailed, UnreadableModel
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName

Publish = Callable[[Manifest], Awaitable[None]]
"""Gives a model its name, and lets go of what had it before."""
TOLD_SECONDS = 0.06
"""Between two messages about a file, as Ollama has it."""


async def pull(
    sources: Sources,
    ref: str,
    *,
    on_event: OnEvent,
    file_format: str | None = None,
    verify: bool = False,
    insecure: bool = False,
    publish: Publish | None = None,
    allow_pickle: bool = False,
    on_total: Callable[[int], None] | None = None,
) -> ModelName:
    """Make a model local; what it is called. Cancelling ends the work and keeps what has arrived.

    :param file_format: ``hf``: the original files; ``gguf``; None: as the engine likes it that `sources` names, where it can be had so.
    :param verify: files that are here already are read again, and fetched anew where they are damaged.
    :param insecure: registries other than Ollama's are spoken to over plain HTTP, and addresses may be of plain HTTP.
    :param publish: None: into the home alone; a server has engines to think of.
    :param allow_pickle: weights that are Python pickles may be converted, where there are no others.
    :param on_total: told, before anything is fetched, how many bytes the files have together.
    :raises ConfigError: the reference is none, or what it leads to cannot be used.
    :raises ModelNotFound: it leads nowhere.
    :raises FetchFailed, NoSpace, ConversionFailed: it cannot be had.
    """
    on_event(Status("pulling manifest"))
    with disk.told(sources.home):
        await asyncio.to_thread(disk.check_writable, sources.home / "manifests")
        async with session() as http:
            finder = Finder(sources, http, insecure=insecure, allow_pickle=allow_pickle)
            plan = await finder.plan(ref, file_format=file_format)
            for note in plan.notes:
                on_event(Status(note))
            if on_total is not None:
                on_total(sum(wanted.size for wanted in plan.downloads))
            for partials in {wanted.partials for wanted in plan.downloads}:
                await asyncio.to_thread(wanted_files.collect, partials)

            async def work() -> None:
                await carry_out(http, plan, on_event=on_event, verify=verify, streams=sources.streams)
                on_event(Status("verifying sha256 digest"))  # it was hashed while it came in
                await _named(plan, publish or _into(sources.home), on_event)

            try:
                await work()
            except Vanished:  # a file that was here already lost its last name just now: it is fetched like any other
                await work()
    return plan.name


async def _named(plan: Plan, publish: Publish, on_event: OnEvent) -> None:
    manifest = await plan.finish(on_event)
    on_event(Status("writing manifest"))
    try:
        await publish(manifest)
    except UnreadableModel as error:
        raise FetchFailed(f"{plan.ref}: what was fetched cannot be used: {error}") from error


def _into(home: Path) -> Publish:
    """Where no server runs in this process."""
    library = Library(Layers(home))

    async def publish(manifest: Manifest) -> None:
        older = await asyncio.to_thread(library.publish, manifest)
        if older is not None:
            await asyncio.to_thread(library.free, older)

    return publish


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For requests to hubs and registries; proxies as the environment says."""
    async with aiohttp.ClientSession(trust_env=True, headers={"User-Agent": "vllama"}) as made:
        yield made


async def carry_out(http: aiohttp.ClientSession, plan: Plan, *, on_event: OnEvent, verify: bool = False, streams: int = STREAMS) -> None:
    """Fetch a plan's files."""
    if verify:
        for wanted in plan.downloads:
            if await asyncio.to_thread(wanted_files.remove_damaged, wanted):
                on_event(Status(f"{wanted.checksum[:12]} was damaged and is fetched anew"))
    await asyncio.to_thread(wanted_files.check_room, list(plan.downloads), beside=plan.room)
    for wanted in plan.downloads:
        await download.fetch(http, wanted, on_bytes=_told(wanted, on_event), streams=streams)


def _told(wanted: Wanted, on_event: OnEvent) -> Callable[[int], None]:
    """At most one message in `TOLD_SECONDS`, the first and the last always; `completed` never falls."""
    clock, last, most = asyncio.get_running_loop().time, -1.0, 0

    def tell(completed: int) -> None:
        nonlocal last, most
        most, now = max(most, completed), clock()
        if last < 0 or most >= wanted.size or now - last >= TOLD_SECONDS:
            last = now
            on_event(Progress(wanted.checksum, wanted.size, most, f"pulling {wanted.checksum[:12]}"))

    return tell


@dataclass(frozen=True, slots=True)
class Fetch:
    """A model that is not here and can be fetched."""

    name: str
    ref: str
    sources: Sources
    form: Form | None = None

    async def run(self, on_event: OnEvent) -> None:
        """Fetch it. Errors as `pull`."""
        await pull(self.sources, self.ref, on_event=on_event, file_format=self.form)


async def find(sources: Sources, ref: str, form: Form | None = None) -> Fetch:
    """Ask where a model is, and fetch nothing. Errors as `pull`.

    :param form: in which alone it can be used; None: as the sources prefer it.
    """
    async with session() as http:
        plan = await Finder(sources, http).plan(ref, file_format=form)
    return Fetch(plan.name.display, ref, sources, form)
