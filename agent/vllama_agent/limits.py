"""How many requests may be in the house: a bounded count per model and in total."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vllama_core.errors import Busy

FULL = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's words, two blanks and all."""
RETRY_AFTER = 1
"""Seconds; a queue moves with every answer that ends."""


class Admission:
    """Counts what waits or runs.

    :param per_model: most requests of one model.
    :param total: most requests of all models.
    """

    def __init__(self, *, per_model: int, total: int) -> None:
        self._per_model = per_model
        self._total = total
        self._of: dict[str, int] = {}
        self.inflight = 0

    def of(self, model: str) -> int:
        """Requests of one model."""
        return self._of.get(model, 0)

    @contextmanager
    def admitted(self, model: str, answers: int = 1) -> Iterator[None]:
        """Hold the places of a request while it is in the house.

        :param answers: how many generations it starts. A request of several is let in when it is alone, even if it exceeds the bound.
        :raises Busy: there is no room.
        """
        count = self.of(model)
        if (count and count + answers > self._per_model) or (self.inflight and self.inflight + answers > self._total):
            raise Busy(FULL, retry_after=RETRY_AFTER)
        self._add(model, answers)
        try:
            yield
        finally:
            self._add(model, -answers)

    def _add(self, model: str, answers: int) -> None:
        self.inflight += answers
        self._of[model] = self.of(model) + answers
        if not self._of[model]:
            del self._of[model]
