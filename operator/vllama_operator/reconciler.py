"""One LLMServe at a time: observe, plan, apply, tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vllama_core.progress import Told
from vllama_operator import desired, failures, listening, names, plan, preparation, spec, status
from vllama_operator.cluster import Cluster
from vllama_operator.conditions import Problem
from vllama_operator.errors import ClusterBusy, ClusterError, NotLeader, NotThere, Rejected, SpecError, Taken
from vllama_operator.listening import Listener
from vllama_operator.nodes import Nodes
from vllama_operator.observed import Observed, Ref, Shared, World
from vllama_operator.plan import Apply, Delete
from vllama_operator.preparation import Circumstances, Preparation, Rollout
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec
from vllama_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)
Json = Mapping[str, Any]


class Reconciler:
    """Holds nothing that a restart could lose: what it remembers saves requests."""

    def __init__(self, world: World, cluster: Cluster, queue: WorkQueue, settings: Settings) -> None:
        self._world = world
        self._cluster = cluster
        self._queue = queue
        self._settings = settings
        self._settled: dict[str, plan.Settled] = {}

        self._listener = Listener(cluster, period=settings.listen_seconds)
        self._nodes = Nodes(cluster, period=settings.nodes_seconds)
        self._asked: dict[Ref, tuple[str, float]] = {}
        """The Job whose answer an LLMServe waits for, and since when, by the event loop's clock."""

    def forget(self) -> None:
        """Another replica may write from now on."""
        self._settled.clear()

    async def reconcile(self, ref: Ref) -> None:
        """Bring one LLMServe, and what it says about itself, up to date. Errors of the API server lead to a later attempt."""
        try:
            await self._reconcile(ref)
        except NotLeader:
            self._queue.retry(ref)  # the lease may be renewed in time; if not, whoever leads next looks at everything
        except ClusterBusy as error:
            log.warning("%s/%s: later again: %s", *ref, error)
            self._queue.retry(ref, after=error.retry_after)

    async def _reconcile(self, ref: Ref) -> None:
        observed = self._world.observe(ref)
        if observed is None:
            self._listener.forget(ref)
            self._asked.pop(ref, None)
            return
        wanted, problem = self._read(observed)
        refused, preparing, told = None, preparation.NOTHING, listening.SILENT
        if wanted is not None:
            preparing = await self._prepare(ref, wanted, observed)
            refused = await self._act(wanted, preparing, observed)
            observed = self._world.observe(ref) or observed
            told = await self._listen(ref, preparing, observed)
        await self._tell(wanted, observed, preparing=preparing, told=told, problem=problem or refused)
        if refused is None:
            self._queue.succeeded(ref)
        else:
            self._queue.retry(ref)

    def _read(self, observed: Observed) -> tuple[ServeSpec | None, Problem | None]:
        try:
            wanted = spec.parse(observed.serve, self._settings.profiles)
            desired.objects(wanted, self._settings)
        except SpecError as error:
            return None, Problem(reason=error.reason, message=str(error))
        return wanted, None

    async def _prepare(self, ref: Ref, wanted: ServeSpec, observed: Observed) -> Preparation:
        """What is rolled out needs no preparation any more, also where somebody removes what tells that there was one."""
        shared = self._world.follow(ref, preparation.keys(wanted, self._settings))
        made = self._prepared(ref, wanted, shared, Circumstances())
        if made.asks_nodes:
            memory = await self._nodes.gpu_memory(wanted, self._settings)
            made = self._prepared(ref, wanted, shared, Circumstances(gpu_memory=memory, nodes_seen=True))
        if made.rollout is Rollout.WAIT and desired.is_rolled_out(desired.objects(wanted, self._settings), observed.deployment):
            return replace(made, rollout=Rollout.GO)
        return made

    def _prepared(self, ref: Ref, wanted: ServeSpec, shared: Shared, now: Circumstances) -> Preparation:
        """And see to it that an answer which does not come is not waited for."""
        made = preparation.prepare(wanted, self._settings, shared, now)
        if made.asked is None:
            self._asked.pop(ref, None)
            return made
        clock = asyncio.get_running_loop().time()
        name, since = self._asked.get(ref, ("", clock))
        since = since if name == made.asked else clock
        self._asked[ref] = (made.asked, since)
        left = since + self._settings.plan_seconds - clock
        if left <= 0:
            return preparation.prepare(wanted, self._settings, shared, replace(now, overdue=True))
        self._queue.later(ref, after=left)
        return made

    async def _listen(self, ref: Ref, preparing: Preparation, observed: Observed) -> Told:
        """And come again while there is something to hear."""
        candidates = (*preparing.pods, *failures.of_newest_revision(observed.pods))
        told = await self._listener.listen(ref, candidates, now=asyncio.get_running_loop().time())
        if told is not None:
            self._queue.later(ref, after=self._settings.listen_seconds)
        return told or listening.SILENT

    async def _act(self, wanted: ServeSpec, preparing: Preparation, observed: Observed) -> Problem | None:
        """Do what is to be done; why that is not possible."""
        settled = self._settled.setdefault(wanted.uid, plan.Settled())
        made = desired.objects(wanted, self._settings)
        if preparing.rollout is not Rollout.GO:
            made = desired.held(made, observed.deployment, stop=preparing.rollout is Rollout.STOP)
        try:
            for action in plan.plan([*made, *map(dict, preparing.objects)], (*observed.children, *preparing.there), settled):
                await self._do(action, wanted, settled)
        except Taken as error:
            return Problem(reason="NameTaken", message=str(error))
        except Rejected as error:
            return Problem(reason="Rejected", message=f"the API server does not take what this LLMServe leads to: {error}")
        return None

    async def _do(self, action: plan.Action, wanted: ServeSpec, settled: plan.Settled) -> None:
        kind, name = plan.key_of(action.manifest)
        where = f"{wanted.namespace}/{wanted.name}"
        match action:
            case Apply(manifest, why):
                log.info("%s: applying %s %s: %s", where, kind, name, f"{why} differs" if why else "it is not there")
                answer = await self._made(manifest, wanted, anew=not why)
                settled.note(manifest, answer)
                self._world.see(kind, answer, gone=False)
            case Delete(manifest):
                log.info("%s: deleting %s %s, which is no longer wanted", where, kind, name)
                await self._cluster.delete(manifest)
                self._world.see(kind, manifest, gone=True)
        self._queue.succeeded((wanted.namespace, wanted.name))  # it gets on: what fails next is tried again soon

    async def _made(self, manifest: dict[str, Any], wanted: ServeSpec, *, anew: bool) -> Json:
        if not anew:
            return await self._cluster.apply(manifest)
        if manifest["kind"] in preparation.SHARED:  # whoever comes second is told that it is there, and finds it when tried again
            return await self._cluster.create(manifest)
        return await self._cluster.make(manifest, uid=wanted.uid)

    async def _tell(
        self, wanted: ServeSpec | None, observed: Observed, *, preparing: Preparation, told: Told, problem: Problem | None
    ) -> None:
        """Write the status if it changed, and then what of that is worth an event: so none is ever repeated."""
        serve = observed.serve
        before = serve.get("status") or {}
        after = _status(wanted, observed, preparing=preparing, told=told, problem=problem, before=before)
        if after == before:
            return
        try:
            answer = await self._cluster.apply_status(serve, after)
        except NotThere:
            return  # deleted meanwhile; the cluster collects its children
        self._world.see(names.KIND, answer, gone=False)
        for note in status.notes(before, after):
            await self._announce(serve, note)

    async def _announce(self, serve: Json, note: status.Note) -> None:
        """An event that cannot be written is no reason to do the rest again."""
        try:
            await self._cluster.create(self._event(serve, note))
        except ClusterError as error:
            log.warning("%s/%s: no event %s: %s", serve["metadata"]["namespace"], serve["metadata"]["name"], note.reason, error)

    def _event(self, serve: Json, note: status.Note) -> Json:
        """https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/"""
        metadata = serve["metadata"]
        regarding = {"apiVersion": names.API_VERSION, "kind": names.KIND} | {key: metadata[key] for key in ("name", "namespace", "uid")}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
            "eventTime": _now(microseconds=True),
            "type": note.type,
            "reason": note.reason,
            "note": note.message,
            "action": "Reconcile",
            "regarding": regarding,
            "reportingController": f"{names.GROUP}/operator",
            "reportingInstance": self._settings.identity[:128],
        }


def _status(
    wanted: ServeSpec | None, observed: Observed, *, preparing: Preparation, told: Told, problem: Problem | None, before: Json
) -> dict[str, Any]:
    if wanted is not None:
        return status.status_of(wanted, observed, preparing=preparing, told=told, problem=problem, before=before, now=_now())
    assert problem is not None, "what cannot be read has a problem"
    return status.invalid(observed.serve, problem=problem, observed=observed, before=before, now=_now())


def _now(*, microseconds: bool = False) -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if microseconds else "%Y-%m-%dT%H:%M:%SZ")
