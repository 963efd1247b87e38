"""Any name becomes a local model: found, fetched, verified, converted if it must be, and named.

Where it is looked for: a name of the catalogue on the hub; other bare names in Ollama's registry; repositories on the hub, there first
with GGUF files, then those that others made of it, last converted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from vllama_agent.store import demo, download, manifests, pick, plans
from vllama_agent.store.download import Wanted
from vllama_agent.store.events import OnEvent, Progress, Status
from vllama_agent.store.hub import Hub, NotOnHub, Repository
from vllama_agent.store.plans import Plan
from vllama_agent.store.registry import Registry
from vllama_agent.store.transfer import STREAMS
from vllama_core import catalog, quantization_names
from vllama_core.catalog import Catalog
from vllama_core.config import GGUF_PUBLISHERS, OLLAMA_REGISTRY, AgentConfig
from vllama_core.errors import AccessDenied, ConfigError, ModelNotFound
from vllama_core.modelref import HubRef, ModelName, ModelRef

TOLD_SECONDS = 0.06
"""Between two messages about a file, as Ollama has it."""
FORMATS = ("gguf", "hf")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where models come from.

    :ivar hub: made when it is first needed: its library takes a fifth of a second to import.
    :ivar registry: the address of Ollama's registry, or of a mirror.
    :ivar publishers: whose GGUF files are taken where the owner has none.
    :ivar streams: requests at once for one file.
    """

    home: Path
    hub: Callable[[], Hub] = Hub.from_environment
    registry: str = OLLAMA_REGISTRY
    publishers: Sequence[str] = GGUF_PUBLISHERS
    streams: int = STREAMS

    def catalog(self) -> Catalog:
        """The built-in one, and the user's on top.

        :raises ConfigError: the user's cannot be read.
        """
        mine = self.home / "catalog.yaml"
        try:
            text = mine.read_text()
        except FileNotFoundError:
            return catalog.builtin()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{mine} cannot be read: {error}") from error
        return catalog.parse(text, where=str(mine)).over(catalog.builtin())


async def pull(
    sources: Sources, ref: str, *, on_event: OnEvent, file_format: str | None = None, verify: bool = False, insecure: bool = False
) -> ModelName:
    """Make a model local; what it is called. Cancelling ends the work and keeps what has arrived.

    :param file_format: ``hf``: the original files, into the hub's cache only; else GGUF.
    :param verify: files that are here already are read again, and fetched anew where they are damaged.
    :param insecure: registries other than Ollama's are spoken to over plain HTTP, and addresses may be of plain HTTP.
    :raises ConfigError: the reference is none, or what it leads to cannot be used.
    :raises ModelNotFound: it leads nowhere.
    :raises FetchFailed, NoSpace, ConversionFailed: it cannot be had.
    """
    on_event(Status("pulling manifest"))
    async with session() as http:
        finder = Finder(sources, http, insecure=insecure)
        plan = await finder.plan(ref, file_format=file_format)
        for note in plan.notes:
            on_event(Status(note))
        for partials in {wanted.partials for wanted in plan.downloads}:
            await asyncio.to_thread(download.collect, partials)
        await carry_out(http, plan, on_event=on_event, verify=verify, streams=sources.streams)
        on_event(Status("verifying sha256 digest"))  # it was hashed while it came in
        if plan.finish is not None:
            manifest = await plan.finish(on_event)
            on_event(Status("writing manifest"))
            await asyncio.to_thread(manifests.write, sources.home, manifest)
    return plan.name


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For requests to hubs and registries; proxies as the environment says."""
    async with aiohttp.ClientSession(trust_env=True, headers={"User-Agent": "vllama"}) as made:
        yield made


async def carry_out(http: aiohttp.ClientSession, plan: Plan, *, on_event: OnEvent, verify: bool = False, streams: int = STREAMS) -> None:
    """Fetch a plan's files."""
    if verify:
        for wanted in plan.downloads:
            if await asyncio.to_thread(download.remove_damaged, wanted):
                on_event(Status(f"{wanted.checksum[:12]} was damaged and is fetched anew"))
    await asyncio.to_thread(download.check_room, list(plan.downloads))
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


class Finder:
    """Asks where a model is.

    :param http: for registries and addresses.
    """

    def __init__(self, sources: Sources, http: aiohttp.ClientSession, *, insecure: bool = False) -> None:
        self._sources = sources
        self._http = http
        self._registry = Registry(session=http, endpoint=sources.registry, insecure=insecure)

    async def plan(self, ref: str, *, file_format: str | None = None) -> Plan:
        """What a reference leads to. Errors as `pull`."""
        parsed = ModelRef.parse(ref)
        if parsed.path is not None:
            raise ConfigError(f"{ref!r} is a file here; nothing is to be pulled")
        name = parsed.name
        assert name is not None, "what is no path has a name"
        if file_format not in (None, *FORMATS):
            raise ConfigError(f"format is {file_format!r}; it must be one of {', '.join(FORMATS)}")
        if parsed.url is not None:
            return await self._url(parsed.url, name, file_format)
        if name.key == demo.NAME.key:
            return self._demo(name, ref)
        if parsed.hub is not None:
            return await self._hub(_Search(parsed.hub, name, ref), file_format)
        entry = None if parsed.registry else (await asyncio.to_thread(self._sources.catalog)).find(name)
        if entry is None:
            return await self._of_registry(name, ref, file_format)
        wanted = HubRef(entry.original if file_format == "hf" else entry.gguf, quantization=entry.quantization)
        return await self._hub(_Search(wanted, name, ref, original=entry.original, license_id=entry.license), file_format)

    async def _url(self, address: str, name: ModelName, file_format: str | None) -> Plan:
        if file_format == "hf":
            raise ConfigError("an address is that of one GGUF file; for format hf name a repository of the hub")
        if address.startswith("http://") and not self._registry.insecure:
            shown = address.partition("?")[0]
            raise ConfigError(f"{shown}: over plain HTTP anybody on the way can change a model; use https://, or --insecure")
        return await plans.url(self._http, address, name=name, home=self._sources.home)

    def _demo(self, name: ModelName, ref: str) -> Plan:
        async def finish(_: OnEvent) -> manifests.Manifest:
            await asyncio.to_thread(demo.ensure, self._sources.home)
            found = manifests.read(manifests.path_of(self._sources.home, demo.NAME))
            assert found is not None, "it has just been written"
            return found

        return Plan(name=name, ref=ref, downloads=(), finish=finish)

    async def _of_registry(self, name: ModelName, ref: str, file_format: str | None) -> Plan:
        if file_format == "hf":
            raise ConfigError(f"{ref!r}: Ollama's registry has GGUF files only; for format hf name a repository of the hub")
        known = await asyncio.to_thread(self._sources.catalog)
        entry = known.find(name)
        instead = entry.gguf if entry is not None else ""
        try:
            return await plans.registry(self._registry, name=name, ref=ref, home=self._sources.home, instead=instead)
        except ModelNotFound:
            near = known.near(name)
            hint = f"did you mean {' or '.join(near)}?" if near else "neither the catalogue nor Ollama's registry has it"
            raise ModelNotFound(ref, hint) from None

    # --- the hub ----------------------------------------------------------------------------------------------------

    async def _hub(self, search: _Search, file_format: str | None) -> Plan:
        hub = await asyncio.to_thread(self._sources.hub)
        first = await _repository(hub, search)
        if file_format == "hf" and first is not None:
            return plans.hub_snapshot(hub, first, name=search.name, ref=search.ref)
        if first is not None:
            with suppress(pick.NoGguf):
                return _gguf(hub, first, search)
        for repo in self._twins(search):
            with suppress(NotOnHub, AccessDenied, pick.NoGguf):  # the next publisher may have one
                return _gguf(hub, await hub.repository(repo), search)
        weights = first if first is not None and not search.original else await hub.repository(search.original)
        quantization = search.wanted.quantization or quantization_names.DEFAULT
        return plans.hub_converted(
            hub,
            weights,
            name=search.name,
            ref=search.ref,
            quantization=quantization,
            home=self._sources.home,
            license_id=search.license_id,
        )

    def _twins(self, search: _Search) -> list[str]:
        """Where else GGUF files may be. A file or a revision means the one repository that was named."""
        wanted = search.wanted
        if wanted.file is not None or wanted.revision is not None:
            return []
        return [repo for repo in pick.repositories(search.original or wanted.repo, self._sources.publishers) if repo != wanted.repo]


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for on the hub.

    :ivar original: the repository of the original weights, where the catalogue knows it.
    :ivar license_id: as the catalogue knows it.
    """

    wanted: HubRef
    name: ModelName
    ref: str
    original: str = ""
    license_id: str = ""


async def _repository(hub: Hub, search: _Search) -> Repository | None:
    """The repository that is named; None: it is gone, but the catalogue knows another way."""
    try:
        return await hub.repository(search.wanted.repo, search.wanted.revision)
    except NotOnHub as error:
        if search.original and search.original != search.wanted.repo:
            return None
        raise ModelNotFound(search.ref, str(error)) from None


def _gguf(hub: Hub, repository: Repository, search: _Search) -> Plan:
    choice = pick.gguf(repository.files, repo=repository.name, wanted=search.wanted.quantization, file=search.wanted.file)
    return plans.hub_gguf(hub, repository, choice, name=search.name, ref=search.ref, license_id=search.license_id)


@dataclass(frozen=True, slots=True)
class Fetch:
    """A model that is not here and can be fetched."""

    name: str
    ref: str
    sources: Sources

    async def run(self, on_event: OnEvent) -> None:
        """Fetch it. Errors as `pull`."""
        await pull(self.sources, self.ref, on_event=on_event)


async def find(sources: Sources, ref: str) -> Fetch:
    """Ask where a model is, and fetch nothing. Errors as `pull`."""
    async with session() as http:
        plan = await Finder(sources, http).plan(ref)
    return Fetch(plan.name.display, ref, sources)


def sources_of(config: AgentConfig) -> Sources:
    """Where an agent's models come from."""
    return Sources(
        home=config.home,
        registry=config.ollama_registry,
        publishers=config.gguf_publishers,
        streams=config.download_streams,
    )
