"""The models of `vllama.yaml`: what a new state of the file changes, and nothing else is touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vllama_agent.fetches import Fetch, Fetches
from vllama_agent.pool.models import Artifact, Store, key_of
from vllama_agent.pool.pins import Pins
from vllama_agent.pool.readiness import Readiness
from vllama_agent.pool.residency import Residency
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.settings import Settings
from vllama_agent.pool.tasks import Tasks
from vllama_core.errors import ConfigError, ModelNotFound
from vllama_core.serve_spec import ModelSpec

log = logging.getLogger(__name__)

Found = Artifact | Fetch
"""A model that is here, or how it is fetched."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What separates two states of the file. A model that changed is in both."""

    removed: tuple[ModelSpec, ...]
    added: tuple[ModelSpec, ...]


def difference(old: Sequence[ModelSpec], new: Sequence[ModelSpec]) -> Difference:
    """Entries are compared whole; their order and their lines do not count."""
    return Difference(tuple(spec for spec in old if spec not in new), tuple(spec for spec in new if spec not in old))


@dataclass(slots=True, kw_only=True)
class Declared:
    """The file's models, pinned under their names.

    :ivar fetches: of models that the agent is not ready without.
    :ivar later: of others.
    """

    store: Store
    settings: Settings
    pins: Pins
    residency: Residency
    readiness: Readiness
    fetches: Fetches
    later: Fetches
    tasks: Tasks
    specs: tuple[ModelSpec, ...] = ()
    _names: list[tuple[ModelSpec, list[str]]] = field(default_factory=list)
    """The names under which each entry's model is pinned."""

    async def become(self, specs: Sequence[ModelSpec], *, first: bool) -> Difference:
        """Go over to a new state of the file. On an error nothing has changed.

        :param first: the agent is starting: it is not ready before these models are.
        :raises ConfigError, ModelNotFound, FetchFailed: a model is not to be had, or its name is taken.
        """
        changes, fetches = difference(self.specs, specs), self.fetches if first else self.later
        found = [(spec, await self._look_up(spec, fetches)) for spec in changes.added]
        self._check_names(changes, found)
        before = [resident for spec in changes.removed for resident in self._drop(spec)]
        self.specs = tuple(specs)
        for spec, model in found:
            self._add(spec, model, first=first)
        pinned = {self.settings.key(artifact) for artifact in self.pins.by_key.values()}
        for resident in before:
            if resident.key not in pinned:
                self.residency.dismiss(resident, "the configuration changed")
        return changes

    async def _look_up(self, spec: ModelSpec, fetches: Fetches) -> Found:
        try:
            artifact: Artifact = await asyncio.to_thread(self.store.resolve, spec.ref, spec.form)
        except ModelNotFound as error:
            return await fetches.find(spec.ref, error, spec.form)
        return artifact

    def _check_names(self, changes: Difference, found: Iterable[tuple[ModelSpec, Found]]) -> None:
        """A name that the file gives must not be pinned by somebody else.

        :raises ConfigError: it is.
        """
        free = {key_of(name) for spec, names in self._names if spec in changes.removed for name in names}
        taken = {key: "--model or another entry" for key in self.pins.by_key if key not in free}
        for spec, model in found:
            for name in _names_of(spec, model.name):
                if key_of(name) in taken:
                    raise ConfigError(f"line {spec.line}: the name {name} is taken by {taken[key_of(name)]}; give the model another one")
            taken |= {key_of(name): f"the entry on line {spec.line}" for name in _names_of(spec, model.name)}

    def _drop(self, spec: ModelSpec) -> list[Resident]:
        """Unpin an entry's model; the engines that it has."""
        names = [name for known, names in self._names if known == spec for name in names]
        self._names = [(known, names) for known, names in self._names if known != spec]
        residents = []
        for name in names:
            artifact = self.pins.get(name)
            resident = self.residency.of(artifact) if artifact is not None else None
            residents += [resident] if resident is not None else []
            self.readiness.forget(name)
            self.pins.drop(name)
            self.settings.take(name)
        return residents

    def _add(self, spec: ModelSpec, model: Found, *, first: bool) -> None:
        if isinstance(model, Fetch):
            self.tasks.own(self._fetched(spec, model, first=first), f"fetch {model.name}")
        else:
            self._pin(spec, model, first=first)

    async def _fetched(self, spec: ModelSpec, fetch: Fetch, *, first: bool) -> None:
        await (self.fetches if first else self.later).run(fetch)
        artifact: Artifact = await asyncio.to_thread(self.store.resolve, fetch.ref, spec.form)
        if spec in self.specs:  # the file may have changed meanwhile
            self._pin(spec, artifact, first=first)

    def _pin(self, spec: ModelSpec, artifact: Artifact, *, first: bool) -> None:
        names = _names_of(spec, artifact.name)
        self._names.append((spec, names))
        for name in names:
            self.settings.give(name, spec.settings, memory=spec.memory)
            named = artifact.named(name)
            self.pins.add(named)
            self.readiness.expect(named, gate=first)


def _names_of(spec: ModelSpec, stored: str) -> list[str]:
    return [spec.name or stored, *spec.aliases]
