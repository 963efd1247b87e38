"""A real API server without nodes, and the operator as a process with the chart's rights: where `bench.llmserves` measures."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import bench.places  # noqa: F401 - puts the folders of the next ones on the path

# isort: split
from kit import audit, operators
from kit import cluster as clusters
from kit.audit import Request
from kit.cluster import Cluster
from kit.operators import Installation
from kit.serving import FITS

import cluster_programs
from vllama_operator import names, plans, pods, settings, spec

TEAM = "team"
SOURCE = "qwen3:0.6b"
LOOK_SECONDS = 5.0
"""Between two looks at how far it is: each lists everything, which the measured ones would feel."""
QUIET_SECONDS = 4.0
"""Without CPU time worth mentioning, until a process counts as having nothing to do."""
LIMIT = 1800.0


@dataclass(frozen=True, slots=True)
class Stand:
    """A cluster with the chart in it."""

    cluster: Cluster
    installation: Installation

    def asked(self) -> list[Request]:
        """All requests so far."""
        assert self.cluster.audit_log is not None
        return audit.requests(self.cluster.audit_log.read_text().splitlines())

    def fill_in_plan(self) -> None:
        """What `SOURCE` takes is known before anybody asks: without nodes no Job could tell."""
        found = settings.parse((self.installation.folder / "operator.yaml").read_text(), file="operator.yaml")
        serve = spec.parse(llmserve("any") | {"metadata": {"name": "any", "namespace": TEAM, "uid": ""}})
        asked = plans.question(serve, pods.profile_of(serve, settings.Settings(**found)))
        metadata = {"name": names.plan(plans.key(asked)), "namespace": TEAM, "labels": {names.SERVE_LABEL: "any"}}
        data = {plans.ANSWER: json.dumps(FITS)}
        self.cluster.kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    def make(self, word: str, count: int) -> None:
        """So many LLMServes, as fast as kubectl can."""
        items = [llmserve(f"{word}-{number}") for number in range(count)]
        for first in range(0, count, 250):  # kubectl has two minutes for each
            part = {"apiVersion": "v1", "kind": "List", "items": items[first : first + 250]}
            self.cluster.kubectl("create", "-f", "-", stdin=part)

    def until_told(self, count: int) -> None:
        """Wait until so many say that a pod of theirs waits for a node: nothing moves any more then.

        :raises AssertionError: it took longer than `LIMIT`.
        """
        path = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].reason}'
        until(lambda: self.cluster.kubectl("get", "llm", "-n", TEAM, "-o", path).split().count("Unschedulable") >= count)


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    """A new cluster, in which what `SOURCE` takes is known.

    :raises OSError: there is none to be had here; says why.
    """
    try:
        programs = cluster_programs.ensure()
    except cluster_programs.CannotBuild as error:
        raise OSError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="vllama-bench-") as scratch:
        folder = Path(scratch)
        with clusters.running(folder / "state", programs=programs, audit=True) as cluster:
            cluster.kubectl("create", "namespace", TEAM)
            made = Stand(cluster, operators.install(cluster, "vllama-system", folder))
            made.fill_in_plan()
            yield made


def llmserve(name: str, **fields: Any) -> dict[str, Any]:
    """One of `SOURCE`.

    :param fields: of its spec.
    """
    metadata = {"name": name, "namespace": TEAM}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": {"model": {"source": SOURCE}} | fields}


def until(found: Callable[[], bool]) -> None:
    """Look now and then until it is true.

    :raises AssertionError: it took longer than `LIMIT`.
    """
    limit = time.monotonic() + LIMIT
    while not found():
        assert time.monotonic() < limit, f"it did not come about in {LIMIT:g} s"
        time.sleep(LOOK_SECONDS)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def until_quiet(process: psutil.Process) -> None:
    """Wait until a process has used less than a twentieth of a core for `QUIET_SECONDS`."""

    def quiet() -> bool:
        before = cpu_seconds(process)
        time.sleep(QUIET_SECONDS)
        return cpu_seconds(process) - before < QUIET_SECONDS / 20

    until(quiet)


def peak_memory(process: psutil.Process) -> int:
    """Bytes that a process has held at most: what a limit of its container would have had to allow.
    https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
    """
    [line] = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10
