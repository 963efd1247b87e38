"""Which models stay loaded, by the names that they were pinned under. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator

from vllama_agent.pool.models import Artifact, key_of
from vllama_agent.pool.settings import Settings


class Pins:
    """Pinned models by name.

    :param hold: False: an idle time was set for all models, so a pin only loads; it keeps nothing loaded.
    """

    def __init__(self, settings: Settings, *, hold: bool) -> None:
        self._settings = settings
        self._hold = hold
        self.by_key: dict[str, Artifact] = {}

    def __contains__(self, artifact: Artifact) -> bool:
        """Whether its engine stays loaded for one of the names that share it."""
        return self._hold and any(True for _ in self.of(artifact))

    def of(self, artifact: Artifact) -> Iterator[Artifact]:
        """The pinned models that share its engine."""
        key = self._settings.key(artifact)
        return (pinned for pinned in self.by_key.values() if self._settings.key(pinned) == key)

    def get(self, name: str) -> Artifact | None:
        """What is pinned under a name."""
        return self.by_key.get(key_of(name))

    def add(self, artifact: Artifact) -> None:
        """Pin it under its name."""
        self.by_key[key_of(artifact.name)] = artifact

    def drop(self, name: str) -> Artifact | None:
        """No longer; what was pinned under it."""
        return self.by_key.pop(key_of(name), None)
