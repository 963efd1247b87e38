"""Pods that have to go while clients talk to them: no answer that fits into drainSeconds is cut, and no kept connection loses a request.

The agents are the real ones but for their engine, which makes pieces at a fixed pace: see `kit.paced_agent`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import llmserves, paced_agent
from kit.clients import ENOUGH
from kit.cluster import NodeCluster

pytestmark = pytest.mark.slow

DRAIN = 12
LEAVE = 5
"""Seconds between a pod's removal and its SIGTERM: `vllama_operator.pods`. Streams that begin with the removal and end so much later than a
share of drainSeconds have that share of it to themselves."""
KINDS = {share: LEAVE + share * DRAIN for share in (0.5, 0.9, 1.5)}
CHOSEN = "app.kubernetes.io/name=vllama,vllama.dev/llmserve=paced"
GONE = "shutting down"
CLOSING = {"ollama": '"}', "openai": "data: [DONE]"}
PACED = {"containers": [{"name": "agent", "command": ["/opt/vllama/bin/python", "-I", "-c", Path(paced_agent.__file__).read_text()]}]}


def make(site: NodeCluster, namespace: str, *, replicas: int) -> None:
    """Replicas that answer."""
    llmserves.make(
        site,
        namespace,
        "paced",
        model={"source": "paced"},
        cache={"mode": "Ephemeral"},
        replicas=replicas,
        rollout={"drainSeconds": DRAIN},
        podTemplate={"spec": PACED},
    )
    site.kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", "llm/paced")


@pytest.fixture
def paced(site: NodeCluster, yard: str) -> str:
    """Two replicas on two nodes; the namespace."""
    make(site, yard, replicas=2)
    assert {pod["spec"]["nodeName"] for pod in pods(site, yard)} == {"node-1", "node-2"}
    return yard


def pods(site: NodeCluster, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.get("pods", "-n", namespace, "-l", CHOSEN)["items"]
    return found


class Clients:
    """What they have seen; there once they have ended."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}

    def check(self) -> None:
        """:raises AssertionError: one was treated worse than promised."""
        streams = self.report["streams"]
        assert [each for each in streams if each["error"]] == []
        assert [each for each in streams if _is_short(each) and each["pieces"] < each["asked"]] == []
        self.check_goodbyes()
        assert self.report["lost"] == []
        assert self.report["kept"] > 50

    def check_goodbyes(self) -> None:
        """:raises AssertionError: an answer that had begun was broken off, or none was too long."""
        begun = [each for each in self.report["streams"] if each["pieces"]]
        assert [each for each in begun if each["error"]] == []
        cut = [each for each in begun if each["pieces"] < each["asked"]]
        assert cut, "some began early enough to be too long"
        assert all(GONE in each["end"] and each["end"].endswith(CLOSING[each["api"]]) for each in cut)


def _is_short(stream: dict[str, Any]) -> bool:
    return bool(stream["seconds"] != KINDS[1.5])


@contextlib.contextmanager
def clients(site: NodeCluster, namespace: str) -> Iterator[Clients]:
    """They talk to the Service from node-1 while the block runs, and finish what they have begun."""
    words = [sys.executable, "-m", "kit.clients", f"http://paced.{namespace}.svc.cluster.local:11434", *map(str, KINDS.values())]
    found = Clients()
    with subprocess.Popen(
        site.way_inside("node-1", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield found
        finally:
            process.stdin.close()
        found.report = json.loads(process.stdout.read())


def names(site: NodeCluster, namespace: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods(site, namespace)}


def test_a_rollout_cuts_nothing_that_fits(site: NodeCluster, paced: str) -> None:
    before = names(site, paced)
    with clients(site, paced) as seen:
        patch = {"spec": {"engine": {"env": [{"name": "SOMETHING", "value": "new"}]}}}
        site.kubectl("patch", "llm", "paced", "-n", paced, "--type=merge", "-p", json.dumps(patch))
        llmserves.until(lambda: not names(site, paced) & before, 60)
    assert llmserves.condition(site, paced, "paced", "Ready")["status"] == "True"
    seen.check()


def test_a_scale_down_cuts_nothing_that_fits(site: NodeCluster, paced: str) -> None:
    with clients(site, paced) as seen:
        site.kubectl("scale", "llm/paced", "-n", paced, "--replicas=1")
        llmserves.until(lambda: len(names(site, paced)) == 1, 60)
    seen.check()


def test_a_nodes_drain_cuts_nothing_that_fits(site: NodeCluster, paced: str) -> None:
    """And the budget keeps the other replica where it is."""
    [other] = (pod["metadata"]["name"] for pod in pods(site, paced) if pod["spec"]["nodeName"] == "node-1")
    try:
        with clients(site, paced) as seen:
            site.kubectl("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
        assert {pod["spec"]["nodeName"] for pod in pods(site, paced)} == {"node-1"}
        assert other in names(site, paced)
    finally:
        site.kubectl("uncordon", "node-2")
    seen.check()


def test_with_one_replica_a_nodes_drain_lets_answers_finish_and_new_requests_fail_until_its_successor_is_there(
    site: NodeCluster, yard: str
) -> None:
    """Nothing blocks the drain. The other node is full, as a large model would find it: the successor has to wait. Until its door is closed
    the old pod takes requests, for there is no other; those get less time than streams that were there before.
    """
    make(site, yard, replicas=1)
    [pod] = pods(site, yard)
    node = pod["spec"]["nodeName"]
    [other] = {"node-1", "node-2"} - {node}
    site.kubectl("cordon", other)
    try:
        with clients(site, yard) as seen:
            words = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s", f"--pod-selector={CHOSEN}"]
            site.kubectl("drain", node, *words)
            assert llmserves.condition(site, yard, "paced", "Ready")["reason"] == "Unschedulable"
    finally:
        site.kubectl("uncordon", "node-1", "node-2")
    before = [each for each in seen.report["streams"] if each["round"] <= ENOUGH and _is_short(each)]
    assert [each for each in before if each["error"] or each["pieces"] < each["asked"]] == []
    seen.check_goodbyes()
    assert [each for each in seen.report["streams"] if each["error"]] != []
    assert seen.report["lost"] != []
    site.kubectl("wait", "-n", yard, "--for=condition=Ready", "--timeout=60s", "llm/paced")
