"""The operator's parts and their lives: watches feed the world, the world names work, the leader's workers do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from vllama_operator import cluster as clusters
from vllama_operator import names, resources
from vllama_operator.cluster import Cluster, Endpoint
from vllama_operator.errors import ClusterError, NotThere
from vllama_operator.lease import Leadership
from vllama_operator.observed import Ref, World
from vllama_operator.reconciler import Reconciler
from vllama_operator.settings import Settings
from vllama_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

LOOK_RETRY = 1.0
"""Seconds between attempts to list everything."""


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, cluster: Cluster, leadership: Leadership) -> None:
        self.world = World()
        self.queue = WorkQueue()
        self._settings = settings
        self._cluster = cluster
        self._leadership = leadership
        self._reconciler = Reconciler(self.world, cluster, self.queue, settings)
        self._leading, self._following = asyncio.Event(), asyncio.Event()
        self._term = 0
        """Grows when we begin to lead, and when we lose that."""
        self._acting = False
        """We lead and have seen everything: before, a child that is there would be taken for missing."""

    def seen(self, kind: str, body: Mapping[str, Any], *, gone: bool) -> None:
        """A watch has shown an object."""
        for ref in self.world.see(kind, body, gone=gone):
            if self._acting:
                self.queue.add(ref)

    async def find_definition(self) -> None:
        """:raises ClusterError: the API server knows no LLMServe, or does not answer."""
        if not await self._cluster.knows(names.KIND):
            raise NotThere(f"the API server knows no {names.KIND}: kubectl apply --server-side -f crds/llmserve.yaml")

    async def run(self) -> None:
        """Until cancelled. The lease is given back when nobody writes any more."""
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._leadership.keep(self._cluster, self._changed), name="keep the lease")
            try:
                async with asyncio.TaskGroup() as acting:
                    acting.create_task(self._look_at_everything(), name="look at everything")
                    for number in range(self._settings.workers):
                        acting.create_task(self.queue.work(self._work), name=f"worker {number}")
            finally:
                keeping.cancel()

    def _changed(self, leads: bool) -> None:
        now, past = (self._leading, self._following) if leads else (self._following, self._leading)
        past.clear()
        now.set()
        self._acting = False
        self._term += 1
        self._reconciler.forget()

    async def _work(self, ref: Ref) -> None:
        if self._acting:
            await self._reconciler.reconcile(ref)

    async def _look_at_everything(self) -> None:
        """When we become the leader, before anything is done, and now and then: watches tell changes, and can miss some."""
        while True:
            await self._leading.wait()
            term = self._term
            for kind in resources.WATCHED:
                self.world.replace(kind, await self._listed(kind))
            if term != self._term:
                continue  # another replica may have acted meanwhile
            self._acting = True
            for ref in self.world.serves():
                self.queue.add(ref)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.resync_seconds):
                    await self._following.wait()

    async def _listed(self, kind: str) -> list[Mapping[str, Any]]:
        """All of a kind, however often that takes: to begin with the first kind again would never end where every tenth request fails."""
        while True:
            try:
                return await self._cluster.list_all(kind, self._settings.namespaces)
            except ClusterError as error:
                log.warning("not every %s could be listed: %s", kind, error)
                await asyncio.sleep(LOOK_RETRY)


@asynccontextmanager
async def running(settings: Settings, endpoint: Endpoint) -> AsyncIterator[Operator]:
    """A replica that works while the block runs. When one of its tasks fails, the block is cancelled and the error raised."""
    leadership = Leadership(settings)
    async with clusters.connected(endpoint, timeout=settings.request_timeout, check=leadership.check) as cluster:
        operator = Operator(settings, cluster, leadership)
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(operator.run(), name="operator")
            try:
                yield operator
            finally:
                life.cancel()
