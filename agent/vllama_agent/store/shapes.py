"""The shape of any model by its headers alone: of files here, or by range requests of files elsewhere. Nothing is fetched or written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllama_agent.environments.layout import NotInstalled
from vllama_agent.store import files, header, hf_files, remote
from vllama_agent.store import wanted as wanted_files
from vllama_agent.store.artifact import Artifact
from vllama_agent.store.finding import Finder
from vllama_agent.store.plans import Plan
from vllama_agent.store.pull import session
from vllama_agent.store.sources import Sources
from vllama_agent.store.store import Store
from vllama_agent.store.wanted import Wanted
from vllama_core import quantization_names, safetensors
from vllama_core.errors import ConfigError, FetchFailed, ModelNotFound, UnreadableModel
from vllama_core.gguf import GgufHeader
from vllama_core.model_form import Form
from vllama_core.modelref import ModelRef
from vllama_core.safetensors import SafetensorsError, SafetensorsHeader
from vllama_core.sizing import gguf_shape, hf_shape
from vllama_core.sizing.requantize import quantized
from vllama_core.sizing.shape import ModelShape

if TYPE_CHECKING:
    import aiohttp

SMALL_FILE = 1 << 20
"""Bytes of a `config.json` that are read; real ones have some thousand."""
FIRST_READ = 1 << 18
"""Bytes of a safetensors file that are asked for first: most headers end before."""
AT_ONCE = 8
"""Headers that are asked for at the same time."""


async def of(ref: str, *, store: Store, sources: Sources, original: bool, quantization: str | None) -> ModelShape:
    """The shape of what a reference leads to.

    :param original: of the files in Hugging Face's format, which vLLM loads; else of what llama.cpp would load, converted where nobody
        publishes a GGUF file.
    :param quantization: in its usual spelling; None: as it is found, or the default one where it would be converted.
    :raises ConfigError: the reference is none, or what it leads to holds no model that can be sized.
    :raises ModelNotFound, FetchFailed: it leads nowhere, or nobody can be asked.
    """
    local = await asyncio.to_thread(_local, ref, store, original)
    if local is not None:
        return _as_asked(local, original=original, quantization=quantization)
    async with session() as http:
        plan = await _plan(Finder(sources, http), _named(ref, quantization), original)
        try:
            found = await _remote(http, plan)
        except (UnreadableModel, SafetensorsError) as error:
            raise ConfigError(f"{ref} cannot be planned for: {error}") from error
    return _as_asked(found, original=original, quantization=quantization)


def _as_asked(shape: ModelShape, *, original: bool, quantization: str | None) -> ModelShape:
    """What llama.cpp would load, where original files or another quantization were found."""
    if original:
        return shape
    is_gguf = quantization_names.parse(shape.quantization) is not None and not shape.architecture[:1].isupper()
    wanted = quantization or (None if is_gguf else quantization_names.DEFAULT)
    return shape if wanted in (None, shape.quantization) else quantized(shape, wanted)


# --- here ---------------------------------------------------------------------------------------------------------------


def _local(ref: str, store: Store, original: bool) -> ModelShape | None:
    """Of a path or a stored model; None: it is neither, or stored in a format that was not asked for."""
    path = ModelRef.parse(ref).path
    try:
        if path is not None:
            folder = Path(path).expanduser()
            if folder.is_dir() and any(folder.glob("*.safetensors")):
                return hf_files.shape(sorted(folder.iterdir()))
            return gguf_shape.shape_of([header.read(file) for file in files.files_at(folder).files])
        return _of_artifact(_stored(ref, store), original)
    except UnreadableModel as error:
        raise ConfigError(f"{ref} cannot be planned for: {error}") from error
    except OSError as error:
        raise ConfigError(f"{ref} cannot be read: {error.strerror or error}") from error


def _stored(ref: str, store: Store) -> Artifact | None:
    try:
        return store.resolve(ref)
    except ModelNotFound:
        return None


def _of_artifact(artifact: Artifact | None, original: bool) -> ModelShape | None:
    if artifact is None or (original and artifact.form is not Form.HUGGING_FACE):
        return None
    return artifact.shape


def _config(text: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the config.json of {where} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"the config.json of {where} is no object")
    return found


# --- elsewhere ----------------------------------------------------------------------------------------------------------


def _named(ref: str, quantization: str | None) -> str:
    """A repository of the hub is asked for the very quantization; of other references it is estimated."""
    parsed = ModelRef.parse(ref)
    plain = parsed.hub is not None and parsed.hub.quantization is None and parsed.hub.file is None and parsed.hub.revision is None
    return f"{ref}:{quantization}" if quantization and plain else ref


async def _plan(finder: Finder, ref: str, original: bool) -> Plan:
    """Where its files are. What would be converted is sized by its original files, converter or not."""
    elsewhere = ModelRef.parse(ref).storage is not None
    if not original:
        try:
            plan = await finder.plan(ref)
        except NotInstalled:
            if elsewhere:
                raise
        else:
            if plan.downloads:
                return plan
    if elsewhere and not original:
        raise ConfigError(f"{ref} lies on a volume here; give the path of its file, or pull it first")
    return await finder.plan(ref, file_format="hf")  # also where the same weights were converted before: nothing is to be fetched then


async def _remote(http: aiohttp.ClientSession, plan: Plan) -> ModelShape:
    named = [((wanted.pointer or wanted.target).name, wanted) for wanted in plan.downloads]
    weights = [wanted for name, wanted in named if name.endswith(".safetensors")]
    limit = asyncio.Semaphore(AT_ONCE)
    if not weights:
        return gguf_shape.shape_of(await asyncio.gather(*(_gguf(http, wanted, limit) for _, wanted in named)))
    settings = next((wanted for name, wanted in named if name == "config.json"), None)
    if settings is None:
        raise ConfigError(f"{plan.ref} has no config.json: nothing says what its weights are")
    config = _config((await _read(http, settings, SMALL_FILE))[:SMALL_FILE], plan.ref)
    headers: Sequence[SafetensorsHeader] = await asyncio.gather(*(_safetensors(http, wanted, limit) for wanted in weights))
    return hf_shape.shape_of(config, headers)


async def _gguf(http: aiohttp.ClientSession, wanted: Wanted, limit: asyncio.Semaphore) -> GgufHeader:
    async with limit:
        here = _here(wanted)
        if here is not None:
            return await asyncio.to_thread(header.read, here)
        return (await remote.header(http, wanted.origin, size=wanted.size)).header


async def _safetensors(http: aiohttp.ClientSession, wanted: Wanted, limit: asyncio.Semaphore) -> SafetensorsHeader:
    """Two requests at most: the second one when the header is longer than the first one's piece."""
    async with limit:
        beginning = await _read(http, wanted, FIRST_READ)
        size = safetensors.header_size(beginning)
        return safetensors.parse(beginning if size <= len(beginning) else await _read(http, wanted, size))


async def _read(http: aiohttp.ClientSession, wanted: Wanted, size: int) -> bytes:
    here = _here(wanted)
    if here is not None:
        return await asyncio.to_thread(_beginning, here, size)
    try:
        return (await remote.read(http, wanted.origin, limit=min(size, wanted.size), ranged=True)).body
    except remote.Missing:
        raise FetchFailed(f"{wanted.origin.shown} is not there") from None


def _here(wanted: Wanted) -> Path | None:
    """A whole copy that is here already."""
    return next((path for path in (wanted.pointer, wanted_files.place(wanted)) if path is not None and path.is_file()), None)


def _beginning(path: Path, size: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)
