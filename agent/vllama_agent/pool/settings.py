"""What each model is loaded with: the agent's settings, over them those of its entry in `vllama.yaml`, and its own num_ctx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllama_agent.pool.models import Artifact, key_of
from vllama_core.config import LoadConfig

Key = tuple[object, ...]
"""What an engine is loaded with: models for which it is equal share one engine."""


class Settings:
    """Settings by model.

    :param base: of the agent.
    :param managed: an operator owns this agent, and planned its memory.
    """

    def __init__(self, base: LoadConfig, *, managed: bool) -> None:
        self._base = base
        self._managed = managed
        self._own: dict[str, Mapping[str, Any]] = {}
        self._memory: dict[str, int] = {}

    def give(self, name: str, own: Mapping[str, Any], *, memory: int | None = None) -> None:
        """A model has settings of its own.

        :param own: fields of `LoadConfig`.
        :param memory: bytes that it may take, and that are kept for it.
        """
        key = key_of(name)
        self._own[key] = own
        if memory is None:
            self._memory.pop(key, None)
        else:
            self._memory[key] = memory

    def take(self, name: str) -> None:
        """It has none any more."""
        self._own.pop(key_of(name), None)
        self._memory.pop(key_of(name), None)

    def of(self, artifact: Artifact) -> LoadConfig:
        """Its own num_ctx counts where nobody said a size, as far as it was trained for it."""
        said = self._said(artifact)
        asked = artifact.parameters.get("num_ctx")
        if not asked or said.ctx_size is not None:
            return said
        return replace(said, ctx_size=min(asked, artifact.brief.context_length or asked))

    def _said(self, artifact: Artifact) -> LoadConfig:
        own = self._own.get(key_of(artifact.name))
        return replace(self._base, **own) if own else self._base

    def key(self, artifact: Artifact) -> Key:
        """What its engine is loaded with."""
        return (*artifact.engine_key, self.of(artifact))

    def memory(self, artifact: Artifact) -> int | None:
        """Bytes that its entry says it may take; None: it says nothing."""
        return self._memory.get(key_of(artifact.name))

    def widest(self, artifact: Artifact) -> int | None:
        """The largest context that a request may have it loaded with; None: requests have no say.

        A size that was said for this agent or this model is a bound, and where an operator planned the memory, requests do not.
        """
        said = self._said(artifact)
        if self._managed or said.ctx_size is not None:
            return None
        trained = artifact.brief.context_length
        return trained if trained is None or said.kv_cells is None else min(trained, said.kv_cells)
