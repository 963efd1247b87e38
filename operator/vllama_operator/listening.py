"""How far pods are that are not ready: they can tell the operator nothing by themselves.

Of one that runs, the end of its log tells; of one that is being set up, its events.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllama_core import progress
from vllama_core.progress import Told
from vllama_operator import failures, pods
from vllama_operator.cluster import Cluster
from vllama_operator.errors import ClusterError
from vllama_operator.observed import Ref

log = logging.getLogger(__name__)
Json = Mapping[str, Any]
LINES = 20
"""Of a log that are read; a writer tells how far it is every two seconds."""
SILENT = Told()


@dataclass(frozen=True, slots=True)
class _Heard:
    """:ivar speaker: a container of a pod, as often as it was started, and whether it runs.
    :ivar at: seconds of the event loop's clock.
    """

    speaker: tuple[str, int, bool]
    at: float
    told: Told


class Listener:
    """Asks once in a while, whatever happens meanwhile.

    :param period: seconds between two looks at a log, or at a pod's events.
    """

    def __init__(self, cluster: Cluster, *, period: float) -> None:
        self._cluster = cluster
        self._period = period
        self._heard: dict[Ref, _Heard] = {}

    def forget(self, ref: Ref) -> None:
        """The LLMServe is gone."""
        self._heard.pop(ref, None)

    async def listen(self, ref: Ref, candidates: Iterable[Json], *, now: float) -> Told | None:
        """What is told of the first pod that is worth asking; None: none is.

        :param now: seconds of the event loop's clock.
        """
        pod = failures.speaker(candidates)
        if pod is None:
            self.forget(ref)
            return None
        speaker, heard = _speaker(pod), self._heard.get(ref)
        same = heard is not None and heard.speaker == speaker
        if heard is not None and same and now - heard.at < self._period:
            return heard.told
        before = heard.told if heard is not None and same else SILENT
        if failures.runs(pod):
            told = await self._log(pod, before)
        else:
            told = await self._events(pod, before) if same else SILENT  # most pods are set up within seconds
        self._heard[ref] = _Heard(speaker, now, told)
        return told

    async def _log(self, pod: Json, before: Told) -> Told:
        """A log that cannot be read is no reason to do nothing else: the kubelet may be away."""
        try:
            text = await self._cluster.log(pod, container=pods.AGENT, lines=LINES)
        except ClusterError as error:
            log.warning("pod %s tells nothing: %s", pod["metadata"]["name"], error)
            return before
        told = progress.read(text.splitlines())
        return before if told == SILENT else told

    async def _events(self, pod: Json, before: Told) -> Told:
        """As `_log`; here silence means that nothing is wrong any more."""
        try:
            found = await self._cluster.events(pod)
        except ClusterError as error:
            log.warning("nothing is told of pod %s: %s", pod["metadata"]["name"], error)
            return before
        return Told(failure=failures.of_events(found))


def _speaker(pod: Json) -> tuple[str, int, bool]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return pod["metadata"]["uid"], sum(each.get("restartCount", 0) for each in statuses), failures.runs(pod)
