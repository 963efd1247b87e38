"""One LLMServe through its stages, against an API server in memory."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from vllama_operator.errors import ClusterBusy, NotThere, Rejected
from vllama_operator.observed import World
from vllama_operator.profiles import Profile
from vllama_operator.reconciler import Reconciler
from vllama_operator.settings import Settings
from vllama_operator.workqueue import WorkQueue

Make = Callable[..., dict[str, Any]]
Body = dict[str, Any]
REF = ("team", "qwen3")


class Cluster:
    """Objects by kind and name, and what was asked."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Body] = {}
        self.status: Mapping[str, Any] = {}
        self.events: list[str] = []
        self.asked: list[str] = []
        self.log_text = ""
        self.nodes: list[Body] | None = []
        self.versions = itertools.count(100)

    def put(self, manifest: Mapping[str, Any]) -> Body:
        body = copy.deepcopy(dict(manifest))
        key = (body["kind"], body["metadata"]["name"])
        body["metadata"] |= {"uid": f"uid-{key[1]}", "resourceVersion": str(next(self.versions))}
        self.objects[key] = body
        return copy.deepcopy(body)

    async def apply(self, manifest: Body) -> Body:
        return self.put(manifest)

    async def make(self, manifest: Body, *, uid: str) -> Body:
        return self.put(manifest)

    async def create(self, manifest: Body) -> Body:
        if manifest["kind"] == "Event":
            self.events.append(manifest["reason"])
            return manifest
        if (manifest["kind"], manifest["metadata"]["name"]) in self.objects:
            raise ClusterBusy("it exists")
        return self.put(manifest)

    async def delete(self, body: Body) -> None:
        del self.objects[body["kind"], body["metadata"]["name"]]

    async def apply_status(self, serve: Body, status: Body) -> Body:
        self.status = status
        return {**serve, "status": status, "metadata": serve["metadata"] | {"resourceVersion": str(next(self.versions))}}

    async def log(self, pod: Body, *, container: str, lines: int) -> str:
        self.asked.append(f"log of {pod['metadata']['name']}")
        if not self.log_text:
            raise Rejected("the container is not there yet")
        return self.log_text

    async def list_all(self, kind: str, namespaces: tuple[str, ...] = (), *, selector: str | None = None) -> list[Body]:
        self.asked.append(f"{kind} {selector}")
        if self.nodes is None:
            raise Rejected("nodes is forbidden")
        return self.nodes

    async def get(self, kind: str, *, namespace: str, name: str) -> Body:
        raise NotThere(name)

    def names(self, kind: str) -> list[str]:
        return sorted(name for each, name in self.objects if each == kind)


class Scene:
    """A reconciler, and the one LLMServe that there is."""

    def __init__(self, serve: Body, **settings: Any) -> None:
        self.world, self.cluster, self.queue = World(), Cluster(), WorkQueue()
        self.reconciler = Reconciler(self.world, self.cluster, self.queue, Settings(**settings))  # type: ignore[arg-type]
        self.see("LLMServe", serve)

    def see(self, kind: str, body: Body) -> None:
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(next(self.cluster.versions))
        self.world.see(kind, body, gone=False)

    async def reconcile(self) -> None:
        await self.reconciler.reconcile(REF)

    def job(self, prefix: str) -> Body:
        [name] = [name for name in self.cluster.names("Job") if name.startswith(prefix)]
        return self.cluster.objects["Job", name]

    def finish(self, prefix: str) -> None:
        self.see("Job", self.job(prefix) | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})

    @property
    def replicas(self) -> int:
        return int(self.cluster.objects["Deployment", "qwen3"]["spec"]["replicas"])

    def reason(self, kind: str = "Ready") -> str:
        return next(str(each["reason"]) for each in self.cluster.status["conditions"] if each["type"] == kind)


async def test_plan_download_and_pods_follow_each_other(serve: Make, job_pod: Make, answer: Callable[..., str]) -> None:
    scene = Scene(serve(replicas=2))
    await scene.reconcile()
    assert (scene.replicas, scene.reason()) == (0, "Planning")
    asking = scene.job("vllama-plan")["metadata"]["name"]

    scene.see("Pod", job_pod(asking, state={"terminated": {"exitCode": 0, "reason": "Completed", "message": answer()}}))
    await scene.reconcile()
    assert scene.cluster.names("ConfigMap") == [asking]
    await scene.reconcile()
    assert [name.split("-")[1] for name in scene.cluster.names("Job")] == ["download"], "the plan's Job has done its work"
    assert (scene.replicas, scene.reason(), scene.reason("Fits")) == (0, "DownloadPending", "Fits")

    fetching = scene.job("vllama-download")["metadata"]["name"]
    scene.see("Pod", job_pod(fetching, state={"running": {}}, Ready="True"))
    scene.cluster.log_text = '{"progress": {"completedBytes": 43, "totalBytes": 100, "bytesPerSecond": 10}}\n'
    await scene.reconcile()
    assert (scene.cluster.status["phase"], scene.cluster.status["download"]["secondsLeft"]) == ("Downloading 43 %", 6)

    scene.finish("vllama-download")
    scene.see("Pod", job_pod(fetching, state={"terminated": {"exitCode": 0, "reason": "Completed"}}))
    await scene.reconcile()
    assert (scene.replicas, scene.reason("ModelCached")) == (2, "Cached")
    assert "download" not in scene.cluster.status
    assert scene.cluster.events == ["Planning", "DownloadPending", "Downloading", "Pending"]


async def test_a_second_look_changes_nothing(serve: Make) -> None:
    scene = Scene(serve())
    await scene.reconcile()
    before = copy.deepcopy(scene.cluster.objects)
    await scene.reconcile()
    assert scene.cluster.objects == before
    assert scene.cluster.events == ["Planning"]


async def test_without_an_answer_in_time_the_rollout_goes_on(serve: Make) -> None:
    scene = Scene(serve(cache={"mode": "Ephemeral"}), plan_seconds=0.0)
    await scene.reconcile()
    await scene.reconcile()
    assert (scene.replicas, scene.reason("Fits")) == (1, "NoAnswer")


async def test_the_wait_for_a_plan_ends_without_anything_happening(serve: Make) -> None:
    scene = Scene(serve(cache={"mode": "Ephemeral"}), plan_seconds=0.01)
    await scene.reconcile()
    assert scene.replicas == 0
    worker = asyncio.create_task(scene.queue.work(scene.reconciler.reconcile))
    async with asyncio.timeout(10):
        while scene.replicas == 0:  # noqa: ASYNC110 -- what is awaited has no event to wait for
            await asyncio.sleep(0.001)
    worker.cancel()


async def test_what_does_not_fit_gets_no_pods(serve: Make, job_pod: Make, answer: Callable[..., str]) -> None:
    scene = Scene(serve())
    await scene.reconcile()
    asking = scene.job("vllama-plan")["metadata"]["name"]
    scene.see("Pod", job_pod(asking, state={"terminated": {"exitCode": 0, "message": answer(fits=False)}}))
    await scene.reconcile()
    await scene.reconcile()
    assert (scene.replicas, scene.cluster.names("Job"), scene.cluster.status["phase"]) == (0, [], "Failed")
    assert scene.cluster.status["sizing"]["requiredBytes"] == 5 << 30
    assert scene.cluster.events == ["Planning", "DoesNotFit"]


async def test_a_log_is_read_once_in_five_seconds_however_much_happens(serve: Make, pod: Make) -> None:
    scene = Scene(serve(suspend=False))
    scene.see("Pod", pod(state={"running": {}}))
    for _ in range(5):
        await scene.reconcile()
    assert scene.cluster.asked == ["log of qwen3-a"]
    scene.see("Pod", pod(state={"running": {}}, restarts=1))
    await scene.reconcile()
    assert scene.cluster.asked == ["log of qwen3-a"] * 2, "another start is another log"


async def test_a_pod_that_is_ready_is_not_listened_to(serve: Make, pod: Make) -> None:
    scene = Scene(serve())
    scene.see("Pod", pod(state={"running": {}}, Ready="True"))
    await scene.reconcile()
    assert scene.cluster.asked == []


async def test_what_serves_is_not_called_unready_when_somebody_removes_its_download(
    serve: Make, pod: Make, answer: Callable[..., str], job_pod: Make
) -> None:
    scene = Scene(serve(cache={"claimName": "models"}))
    await scene.reconcile()
    asking = scene.job("vllama-plan")["metadata"]["name"]
    scene.see("Pod", job_pod(asking, state={"terminated": {"exitCode": 0, "message": answer()}}))
    for _ in range(2):
        await scene.reconcile()
    scene.finish("vllama-download")
    await scene.reconcile()
    status = {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1, "replicas": 1}
    scene.see("Deployment", scene.cluster.objects["Deployment", "qwen3"] | {"status": status})
    scene.see("Pod", pod(state={"running": {}}, Ready="True"))
    await scene.reconcile()
    assert scene.reason() == "Serving"

    fetched = scene.job("vllama-download")
    await scene.cluster.delete(fetched)
    scene.world.see("Job", fetched, gone=True)
    await scene.reconcile()
    assert (scene.reason(), scene.reason("ModelCached"), scene.replicas) == ("Serving", "DownloadPending", 1)
    assert scene.job("vllama-download"), "and the claim is looked at again"


@pytest.mark.parametrize(
    ("nodes", "reason", "asks"),
    [
        ([{"metadata": {"labels": {"nvidia.com/gpu.memory": "24576"}}}], "Planning", True),
        ([], "GpuMemoryUnknown", False),
        (None, "GpuMemoryUnknown", False),
    ],
)
async def test_gpus_are_planned_for_where_nodes_tell_their_memory(serve: Make, nodes: list[Body] | None, reason: str, asks: bool) -> None:
    gpu = Profile(accelerator="nvidia", node_selector={"gpu": "l4"})
    scene = Scene(serve(profile="l4"), profiles={"l4": gpu})
    scene.cluster.nodes = nodes
    await scene.reconcile()
    await scene.reconcile()
    assert scene.cluster.asked == ["Node nvidia.com/gpu.memory,gpu=l4"], "nodes are looked at once in a while"
    assert scene.reason("Fits") == reason
    plans = [name for name in scene.cluster.names("Job") if name.startswith("vllama-plan")]
    assert bool(plans) is asks
    if asks:
        assert str(24576 << 20) in scene.job("vllama-plan")["spec"]["template"]["spec"]["containers"][0]["args"]
