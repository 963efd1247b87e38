"""Whether a request's `num_ctx` is a reason to load a model anew. Decides by what it is told; knows no engine and no memory."""

from __future__ import annotations

import math

from vllama_agent.pool.models import Artifact
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.settings import Key, Settings
from vllama_core.sizing import choice


class Contexts:
    """What was wanted, and what failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failed: dict[Key, int] = {}
        """The smallest context that a request wanted and with which the model did not load."""

    def wanted(self, artifact: Artifact, resident: Resident | None, num_ctx: int | None) -> int | None:
        """Tokens with which it is to be loaded for a request, if there is memory; None: as it is, or as it would be anyway.

        :param resident: the engine that it has. One that loads or answers is left alone.
        """
        widest = self._settings.widest(artifact)
        if num_ctx is None or widest is None or (resident is not None and (resident.users or not resident.loaded)):
            return None
        facts = resident.engine.facts if resident is not None else None
        default = self._settings.of(artifact).ctx_size or choice.default_context(artifact.brief.context_length)
        present = default if facts is None else facts.context_length
        context = min(num_ctx, widest)
        return context if present < context < self._failed.get(self._settings.key(artifact), math.inf) else None

    def failed(self, resident: Resident) -> None:
        """It did not load; if that was with a request's context, no request gets as much again."""
        if resident.context is not None:
            self._failed[resident.key] = min(resident.context, self._failed.get(resident.key, resident.context))
