"""A cluster as tests see it: kubectl, helm, and the way to one that is made for them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit import images, namespaces, place
from kit.place import Place

KIT = Path(__file__).resolve().parent
START_SECONDS = 150.0
"""Longer than the supervisor waits, so that its reason is heard."""
COMMAND_SECONDS = 120.0
"""For one kubectl or helm: most take a tenth of a second, one that waits for a rollout says its own timeout."""
DISPOSABLE = "vllama.dev/disposable"
"""Label of the namespace `default` of a cluster that tests may fill and empty."""


class Refused(Exception):
    """A command failed; the sentence is what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that tests may use.

    :ivar kubeconfig: how to reach it as its administrator.
    :ivar programs: the folder of `tools/cluster_programs.py`.
    :ivar scratch: a folder for the caches of kubectl and helm.
    :ivar audit_log: what the API server was asked, if it is one of ours and was told to write it down.
    """

    kubeconfig: Path
    programs: Path
    scratch: Path
    audit_log: Path | None = field(default=None)

    def kubectl(self, *words: str, stdin: Any = None) -> str:
        """Run kubectl.

        :param stdin: an object, which is written as JSON, or a text.
        :return: its standard output.
        :raises Refused: it failed.
        """
        return self._run("kubectl", *words, stdin=stdin)

    def helm(self, *words: str) -> str:
        """Run helm; as `kubectl`."""
        return self._run("helm", *words, stdin=None)

    def get(self, *words: str) -> Any:
        """What `kubectl get` finds."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def command(self, program: str, *words: str) -> list[str]:
        """The command line of kubectl or helm, for what goes on beside the test."""
        return [str(self.programs / program), f"--kubeconfig={self.kubeconfig}", *words]

    def _run(self, program: str, *words: str, stdin: Any) -> str:
        text = stdin if isinstance(stdin, str | None) else json.dumps(stdin)
        homes = {
            name: str(self.scratch / name.lower()) for name in ("KUBECACHEDIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        }
        result = subprocess.run(
            self.command(program, *words),
            input=text,
            capture_output=True,
            text=True,
            env=os.environ | homes,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            raise Refused(result.stderr.strip() or result.stdout.strip())
        return result.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCluster(Cluster):
    """A cluster with nodes that run pods.

    :ivar where: its place.
    :ivar first: process id of the `unshare` of its namespaces.
    """

    where: Place
    first: int

    def inside(self, *command: str, on: str = "node-1") -> str:
        """Run a command where pods and Services can be reached, also by name.

        :return: its standard output.
        :raises Refused: it failed.
        """
        result = subprocess.run(self.way_inside(on, *command), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        if result.returncode != 0:
            raise Refused(result.stderr.strip() or f"{command[0]}: exit status {result.returncode}")
        return result.stdout

    def way_inside(self, on: str, *command: str) -> list[str]:
        """The same command, as it is run from here."""
        words = namespaces.into(str(self.first))
        if on != "node-1":
            words += namespaces.into(self.where.node_pid(on).read_text())
        return [*words, *command]

    def load(self, archive: Path) -> None:
        """Give every node the images of a docker- or OCI-archive.

        :raises Refused: a node does not take it.
        """
        with ThreadPoolExecutor() as pool:  # a node's own containerd unpacks it, so they do not wait for each other
            loads = [pool.submit(self.inside, *images.import_command(archive), on=each.name) for each in self.where.nodes]
        for load in loads:
            load.result()


@contextlib.contextmanager
def running(state: Path, *, programs: Path, audit: bool = False) -> Iterator[Cluster]:
    """A control plane of its own: API server, controller manager and scheduler, ready in seconds; no nodes.

    :param state: a folder that does not exist yet.
    :raises RuntimeError: it did not start; the sentence says where its logs are.
    """
    ports = _free_ports(3)
    where = Place(state=state, programs=programs, port=ports[0], etcd_port=ports[1], peer_port=ports[2], audit=audit)
    state.mkdir(parents=True)
    with _supervised(where, [*_SUPERVISOR, place.written(where)]):
        yield Cluster(**_ways(where))


@contextlib.contextmanager
def running_nodes(state: Path, *, programs: Path, nodes: int = 1, audit: bool = False) -> Iterator[NodeCluster]:
    """The same with nodes: containerd, kubelet, kube-proxy and DNS, in namespaces of their own.

    Needs root, and Debian's packages containerd, runc, containernetworking-plugins, conntrack, nftables and iproute2.
    """
    groups = namespaces.make_cgroups(f"vllama-cluster-{os.getpid()}-{next(_numbers)}")
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
            where = Place(state=state, programs=programs, port=port, etcd_port=2379, peer_port=2380, audit=audit, node_count=nodes)
            for each in where.nodes:
                where.node_state(each).mkdir(parents=True)
            command = [*namespaces.UNSHARE, "--net", *_SUPERVISOR, place.written(where), str(listener.fileno())]
            options = {"pass_fds": [listener.fileno()], "preexec_fn": namespaces.entering(groups)}
            with _supervised(where, command, **options) as supervisor:
                yield NodeCluster(**_ways(where), where=where, first=supervisor.pid)
    finally:
        namespaces.remove_cgroups(groups)


_SUPERVISOR = (sys.executable, "-m", "kit.supervisor")
_numbers = itertools.count(1)


@contextlib.contextmanager
def _supervised(where: Place, command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor while the block runs, from the time on when its cluster is ready."""
    with (
        open(where.state / "supervisor.log", "ab") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(KIT.parent)},
            start_new_session=True,
            **options,
        ) as supervisor,
    ):
        try:
            _wait(where, supervisor)
            yield supervisor
        finally:
            assert supervisor.stdin is not None
            supervisor.stdin.close()


def _ways(where: Place) -> dict[str, Any]:
    """What every `Cluster` has."""
    return {
        "kubeconfig": where.kubeconfig("admin"),
        "programs": where.programs,
        "scratch": where.state / "caches",
        "audit_log": where.audit_log if where.audit else None,
    }


def named(kubeconfig: Path, *, programs: Path, scratch: Path) -> Cluster:
    """A cluster that is there already.

    :raises Refused: it cannot be reached, or does not say that it was made for tests.
    """
    cluster = Cluster(kubeconfig=kubeconfig, programs=programs, scratch=scratch)
    labels = cluster.get("namespace", "default")["metadata"].get("labels", {})
    if labels.get(DISPOSABLE) != "true":
        raise Refused(
            f"the cluster of {kubeconfig} does not say that it was made for tests, which fill and empty it; if it was: "
            f"kubectl --kubeconfig {kubeconfig} label namespace default {DISPOSABLE}=true"
        )
    return cluster


def _wait(where: Place, supervisor: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + START_SECONDS
    while not where.ready.exists():
        if supervisor.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"the cluster did not start; its logs are in {where.state}")
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """All held at once, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]
