"""From a name to the place where the model is: asks hubs and registries, fetches nothing.

A name of the catalogue is looked for on the hub, other bare names in Ollama's registry. On the hub, GGUF files of the repository itself
come first, then those that others made of it; last its original weights, to be converted here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from vllama_agent.store import convert_plans, demo, hub_plans, manifests, oci_plans, other_plans, pick, pvc_plans, s3_plans
from vllama_agent.store.events import OnEvent
from vllama_agent.store.hub import Hub, NotOnHub
from vllama_agent.store.hub_cache import Repository
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.oci import Artifact
from vllama_agent.store.plans import Plan
from vllama_agent.store.registry import Registry
from vllama_agent.store.sources import Sources
from vllama_core import quantization_names
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed, ModelNotFound
from vllama_core.model_form import Form
from vllama_core.modelref import DEFAULT_HOST, STORAGE_HOSTS, HubRef, ModelName, ModelRef
from vllama_core.storageref import OciRef, PvcRef, S3Ref, StorageRef

FORMATS = tuple(Form)


class Finder:
    """Asks where a model is.

    :param http: for registries and addresses.
    :param allow_pickle: pickled weights may be converted where there are no others.
    """

    def __init__(self, sources: Sources, http: aiohttp.ClientSession, *, insecure: bool = False, allow_pickle: bool = False) -> None:
        self._sources = sources
        self._http = http
        self._insecure = insecure
        self._allow_pickle = allow_pickle
        self._registry = Registry(session=http, endpoint=sources.registry, insecure=insecure)

    async def plan(self, ref: str, *, file_format: str | None = None) -> Plan:
        """What a reference leads to. Errors as `pull`.

        :param file_format: one of `FORMATS`; None: as the sources prefer it, where it can be had so.
        """
        parsed = ModelRef.parse(ref)
        if parsed.path is not None:
            raise ConfigError(f"{ref!r} is a file here; nothing is to be pulled")
        name = parsed.name
        assert name is not None, "what is no path has a name"
        if file_format not in (None, *FORMATS):
            raise ConfigError(f"format is {file_format!r}; it must be one of {', '.join(FORMATS)}")
        if parsed.storage is not None:
            return await self._storage(parsed.storage, name, file_format)
        if parsed.url is not None:
            return await self._url(parsed.url, name, file_format)
        if name.key == demo.NAME.key:
            return self._demo(name, ref)
        if parsed.hub is not None:
            return await self._hub(_Search(parsed.hub, name, ref), file_format)
        entry = None if parsed.registry else (await asyncio.to_thread(self._sources.catalog)).find(name)
        if entry is None:
            return await self._of_registry(name, ref, file_format)
        gguf = _Search(HubRef(entry.gguf, quantization=entry.quantization), name, ref, original=entry.original, license_id=entry.license)
        return await self._hub(gguf, file_format)

    async def _storage(self, place: StorageRef, name: ModelName, file_format: str | None) -> Plan:
        form = None if file_format is None else Form(file_format)
        if form is Form.HUGGING_FACE and not isinstance(place, PvcRef):
            raise ConfigError(
                f"{place}: from there models come as GGUF, or are made into it; in Hugging Face's form (format hf), which vLLM loads, they "
                "come from repositories of the hub and from folders of volume claims (pvc://CLAIM/FOLDER/)"
            )
        home = self._sources.home
        match place:
            case S3Ref():
                return await s3_plans.plan(self._http, place, name=name, home=home, allow_pickle=self._allow_pickle)
            case OciRef():
                return await oci_plans.plan(Artifact(self._http, place, insecure=self._insecure), place, name=name, home=home)
            case PvcRef():
                return await asyncio.to_thread(
                    pvc_plans.plan,
                    place,
                    name=name,
                    home=home,
                    root=self._sources.pvc_root,
                    form=form,
                    prefers=self._sources.prefers,
                    allow_pickle=self._allow_pickle,
                )

    async def _url(self, address: str, name: ModelName, file_format: str | None) -> Plan:
        if file_format == "hf":
            raise ConfigError("an address is that of one GGUF file; for format hf name a repository of the hub")
        if address.startswith("http://") and not self._insecure:
            shown = address.partition("?")[0]
            raise ConfigError(f"{shown}: over plain HTTP anybody on the way can change a model; use https://, or --insecure")
        return await other_plans.url(self._http, address, name=name, home=self._sources.home)

    def _demo(self, name: ModelName, ref: str) -> Plan:
        async def finish(_: OnEvent) -> Manifest:
            await asyncio.to_thread(demo.ensure, self._sources.home)
            found = manifests.read(manifests.path_of(self._sources.home, demo.NAME))
            assert found is not None, "it has just been written"
            return found

        return Plan(name=name, ref=ref, downloads=(), finish=finish)

    async def _of_registry(self, name: ModelName, ref: str, file_format: str | None) -> Plan:
        if file_format == "hf":
            raise ConfigError(f"{ref!r}: Ollama's registry has GGUF files only; for format hf name a repository of the hub")
        if name.host.casefold() in STORAGE_HOSTS:
            place = f"{name.host.casefold()}://{name.namespace}/"
            raise ConfigError(f"{ref!r} is what a model of {place} is called once it is here; to fetch it write {place} and its path")
        known = await asyncio.to_thread(self._sources.catalog)
        entry = known.find(name)
        instead = entry.gguf if entry is not None else ""
        near = known.near(name)
        suggestion = f"did you mean {' or '.join(near)}?" if near else ""
        try:
            return await other_plans.registry(self._registry, name=name, ref=ref, home=self._sources.home, instead=instead)
        except ModelNotFound:
            raise ModelNotFound(ref, suggestion or "neither the catalogue nor Ollama's registry has it") from None
        except AccessDenied:
            raise
        except FetchFailed as error:
            if entry is not None or name.host != DEFAULT_HOST:
                raise
            raise FetchFailed(
                f"the catalogue has no {ref}, and Ollama's registry cannot be asked: {error}; {suggestion}".rstrip("; ")
            ) from error

    # --- the hub ----------------------------------------------------------------------------------------------------

    async def _hub(self, search: _Search, file_format: str | None) -> Plan:
        hub = await asyncio.to_thread(self._sources.hub)
        wanted = search.wanted
        if file_format == Form.HUGGING_FACE:
            return await _snapshot(hub, search)
        if file_format is None and self._sources.prefers is Form.HUGGING_FACE and wanted.names_no_gguf:
            with suppress(ModelNotFound, AccessDenied, pick.NoSnapshot):  # others may have it as GGUF
                return await _snapshot(hub, search)
        first = await _repository(hub, search)
        if first is not None:
            with suppress(pick.NoGguf):
                return _gguf(hub, first, search)
        for repo in self._twins(search):
            with suppress(NotOnHub, AccessDenied, pick.NoGguf):  # the next publisher may have one
                return _gguf(hub, await hub.repository(repo), search)
        weights = first if first is not None and not search.original else await hub.repository(search.original)
        quantization = search.wanted.quantization or quantization_names.DEFAULT
        found = hub_plans.weights(hub, weights, license_id=search.license_id, allow_pickle=self._allow_pickle)
        return await asyncio.to_thread(
            convert_plans.converted, found, name=search.name, ref=search.ref, quantization=quantization, home=self._sources.home
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


async def _snapshot(hub: Hub, search: _Search) -> Plan:
    """The original files: those of the repository that is named, or the one that the catalogue says they are in."""
    try:
        found = await hub.repository(search.original or search.wanted.repo, search.wanted.revision)
    except NotOnHub as error:
        raise ModelNotFound(search.ref, str(error)) from None
    return hub_plans.snapshot(hub, found, name=search.name, ref=search.ref, license_id=search.license_id)


def _gguf(hub: Hub, repository: Repository, search: _Search) -> Plan:
    choice = pick.gguf(repository.files, repo=repository.name, wanted=search.wanted.quantization, file=search.wanted.file)
    return hub_plans.gguf(hub, repository, choice, name=search.name, ref=search.ref, license_id=search.license_id)
