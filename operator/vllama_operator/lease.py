"""One operator acts at a time: the holder of a Lease, and only as long as it renews it.

Time is the event loop's, which goes on while a process is stopped; clocks of different machines are never compared. A holder stops
writing `renew_deadline` after the start of its last successful renewal, and a request in flight ends within `request_timeout` of it.
Another replica takes over when it has seen no change of the Lease for `lease_duration`, which is longer than both together.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vllama_core.errors import VllamaError
from vllama_operator.cluster import Cluster
from vllama_operator.errors import NotLeader, NotThere
from vllama_operator.settings import Settings

log = logging.getLogger(__name__)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A state of the Lease, and when it was first seen, by the loop's clock."""

    version: str
    at: float


def may_take(lease: Json, *, identity: str, sighting: Sighting, now: float) -> bool:
    """Whether the Lease is ours, nobody's, or its holder's that went silent. Pure."""
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    return holder in ("", identity) or now - sighting.at >= (spec.get("leaseDurationSeconds") or 0)


def pause(settings: Settings, *, leads: bool, sighting: Sighting, now: float) -> float:
    """Seconds until the next attempt: who follows looks less often than the holder renews, and when its silence gets too long. Pure."""
    left = sighting.at + settings.lease_duration - now
    return settings.renew_period if leads or left <= 0 else min(settings.follow_period, left)


def taken(lease: Json, *, identity: str, duration: float, time: str) -> dict[str, Any]:
    """The Lease with us as its holder. Pure.

    :param time: as Kubernetes writes times.
    """
    spec = dict(lease.get("spec") or {})
    if spec.get("holderIdentity") != identity:
        spec |= {"acquireTime": time, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
    spec |= {"holderIdentity": identity, "leaseDurationSeconds": round(duration), "renewTime": time}
    return {**lease, "spec": spec}


class Leadership:
    """Keeps the Lease.

    :ivar cluster: set once it is there; it asks `check` itself, before all writes but those of the Lease.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deadline = float("-inf")
        self._sighting = Sighting("", float("-inf"))
        self._written: Json | None = None
        """The Lease as we left it: a holder need not read it before it renews. Who has changed it since makes the renewal fail."""
        self._ended = False

    @property
    def leads(self) -> bool:
        """Whether we may write now."""
        return not self._ended and asyncio.get_running_loop().time() < self._deadline

    def check(self) -> None:
        """:raises NotLeader: we may not."""
        if not self.leads:
            raise NotLeader

    async def keep(self, cluster: Cluster, changed: Callable[[bool], None]) -> None:
        """Take and renew it, until cancelled; then give it back.

        :param changed: called with True when we have become the holder, with False when we are it no longer.
        """
        led = False
        try:
            while True:
                try:
                    await self._try(cluster)
                except VllamaError as error:  # the next attempt comes soon, and until then the deadline holds
                    log.warning("the lease could not be renewed: %s", error)
                if self.leads != led:
                    led = self.leads
                    log.info("this operator %s", "acts from now on" if led else "acts no longer")
                    changed(led)
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(pause(self._settings, leads=led, sighting=self._sighting, now=now))
        finally:
            if led:
                await self._give_back(cluster)

    async def _try(self, cluster: Cluster) -> None:
        began = asyncio.get_running_loop().time()
        lease, self._written = self._written or await self._read(cluster), None
        version = lease["metadata"].get("resourceVersion", "")
        if version != self._sighting.version:
            self._sighting = Sighting(version, asyncio.get_running_loop().time())
        identity = self._settings.identity
        if not may_take(lease, identity=identity, sighting=self._sighting, now=began):
            self._deadline = float("-inf")
            return
        mine = taken(lease, identity=identity, duration=self._settings.lease_duration, time=_now())
        self._written = await (cluster.replace_lease(mine) if version else cluster.create_lease(mine))
        self._deadline = began + self._settings.renew_deadline

    async def _read(self, cluster: Cluster) -> Json:
        metadata = {"name": self._settings.lease_name, "namespace": self._settings.own_namespace}
        try:
            return await cluster.get("Lease", **metadata)
        except NotThere:
            return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}

    async def _give_back(self, cluster: Cluster) -> None:
        """So that a successor need not wait. From here on nothing is written, whether this succeeds or not."""
        self._ended = True
        with suppress(VllamaError):
            lease = await self._read(cluster)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self._settings.identity:
                await cluster.replace_lease({**lease, "spec": {**spec, "holderIdentity": ""}})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
