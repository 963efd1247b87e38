"""How much memory the GPUs of a profile's nodes have, where the operator may look at nodes."""

from __future__ import annotations

import asyncio
import logging

from vllama_operator import plans, pods
from vllama_operator.cluster import Cluster
from vllama_operator.errors import NotThere, Rejected
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec

log = logging.getLogger(__name__)


class Nodes:
    """Looks once in a while: nodes come and go, and their GPUs stay what they are.

    :param period: seconds between two looks at the same nodes.
    """

    def __init__(self, cluster: Cluster, *, period: float) -> None:
        self._cluster = cluster
        self._period = period
        self._known: dict[str, tuple[float, int | None]] = {}

    async def gpu_memory(self, spec: ServeSpec, settings: Settings) -> int | None:
        """Bytes of each GPU; None: it is not known, or may not be.

        :raises SpecError: the profile is not known.
        :raises ClusterBusy: nobody could be asked.
        """
        profile, now = pods.profile_of(spec, settings), asyncio.get_running_loop().time()
        selector = ",".join([plans.GPU_MEMORY, *(f"{key}={value}" for key, value in sorted(profile.node_selector.items()))])
        known = self._known.get(selector)
        if known is None or now - known[0] >= self._period:
            known = self._known[selector] = (now, await self._look(selector))
        return known[1]

    async def _look(self, selector: str) -> int | None:
        try:
            return plans.gpu_memory(await self._cluster.list_all("Node", selector=selector))
        except (NotThere, Rejected) as error:  # served namespaces are named one by one: nodes are not among what we may see
            log.info("how much memory the nodes' GPUs have is not known: %s", error)
            return None
