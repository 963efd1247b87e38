"""What the operator costs and how soon it acts: a real API server without nodes, its audit log, and the operator as a process.

Times are the API server's own, from its audit log: from the answer to whoever applies an LLMServe to the answer to the operator that has
made an object of it. Pods are made and find no node, so nothing moves once all is made.
"""

from __future__ import annotations

import os
import time
from typing import Any

import psutil

from bench import operator_stand, stats
from bench.operator_stand import Stand

# isort: split
from kit.audit import Request

NEW, KNOWN = "new", "known"
"""LLMServes of a model that nobody has planned, and such that may have pods at once."""
APPLIED = {KNOWN: 100, NEW: 40}
"""How many of them are timed: a 99th percentile needs a hundred."""
APPLY_SECONDS = 0.5
"""Between two of them, so that none waits for another."""
CROWD = int(os.environ.get("VLLAMA_BENCH_CROWD", "500"))
IDLE = int(os.environ.get("VLLAMA_BENCH_IDLE", "1000"))
IDLE_SECONDS = float(os.environ.get("VLLAMA_BENCH_IDLE_SECONDS", "600"))
"""For a quick look, `VLLAMA_BENCH_CROWD=50` and so on; what is published has the defaults."""


def apply(_round: int, *, crowd: int) -> dict[str, float]:
    """Milliseconds from an LLMServe to its first object where nothing is known of its model, and to its Deployment where all is.

    :param crowd: others that are there.
    """
    with operator_stand.stand() as here, here.installation.running("operator-1") as process:
        here.make("crowd", crowd)
        here.until_told(crowd)
        operator_stand.until_quiet(psutil.Process(process.pid))
        for word, count in APPLIED.items():
            for number in range(count):
                here.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=_timed(word, number))
                time.sleep(APPLY_SECONDS)
        operator_stand.until(lambda: len(_milliseconds(here, NEW)) == APPLIED[NEW])
        first, deployment = _milliseconds(here, NEW), _milliseconds(here, KNOWN, "deployments.apps")
    return {
        "first_ms_p50": stats.percentile(first, 50),
        "deployment_ms_p50": stats.percentile(deployment, 50),
        "deployment_ms_p99": stats.percentile(deployment, 99),
    }


def _timed(word: str, number: int) -> dict[str, Any]:
    if word == KNOWN:
        return operator_stand.llmserve(f"{word}-{number}", cache={"mode": "Ephemeral"})
    return operator_stand.llmserve(f"{word}-{number}", model={"source": f"org/model-{number}"})


def _milliseconds(here: Stand, word: str, resource: str | None = None) -> list[float]:
    return sorted(1000 * seconds for seconds in made_after(here.asked(), here.installation.user, word, resource))


def made_after(asked: list[Request], operator: str, word: str, resource: str | None = None) -> list[float]:
    """Seconds from each timed LLMServe to the first object that the operator made of it. Pure.

    :param operator: the user that it is.
    :param word: with which the LLMServes' names begin, before a number.
    :param resource: of the object, as `Request` has it; None: whichever comes first.
    """
    made = [request for request in asked if request.verb == "create" and request.name.startswith(f"{word}-")]
    began = {request.name: request.at for request in made if request.resource == "llmserves.vllama.dev"}
    found: dict[str, float] = {}
    for request in made:
        serve = "-".join(request.name.split("-")[:2])
        if request.user == operator and serve in began and resource in (None, request.resource):
            took = request.at - began[serve]
            found[serve] = min(took, found.get(serve, took))
    return list(found.values())


def idle(_round: int) -> dict[str, float]:
    """What a thousand LLMServes cost two replicas of the operator while nobody touches them, and what it costs to look at all of them."""
    with operator_stand.stand() as here:
        with here.installation.running("operator-1") as process:
            here.make("idle", IDLE)
            here.until_told(IDLE)
            operator_stand.until_quiet(psutil.Process(process.pid))
        with here.installation.running("operator-2") as process:
            leader = psutil.Process(process.pid)
            operator_stand.until_quiet(leader)
            resync = operator_stand.cpu_seconds(leader)
            with here.installation.running("operator-3") as other:
                standby = psutil.Process(other.pid)
                operator_stand.until_quiet(standby)
                return {"resync_cpu_s": resync} | _while_nothing_happens(here, leader, standby)


def _while_nothing_happens(here: Stand, leader: psutil.Process, standby: psutil.Process) -> dict[str, float]:
    used, began = operator_stand.cpu_seconds(leader), time.time()
    time.sleep(IDLE_SECONDS)
    used, ended = operator_stand.cpu_seconds(leader) - used, time.time()
    others, leases = counted(here.asked(), here.installation.user, began, ended)
    return {
        "requests_per_s": others / (ended - began),
        "lease_requests_per_s": leases / (ended - began),
        "idle_cpu_percent": 100 * used / (ended - began),
        "memory_mb": max(map(operator_stand.peak_memory, (leader, standby))) / 1e6,
    }


def counted(asked: list[Request], user: str, began: float, ended: float) -> tuple[int, int]:
    """Requests of a user, and apart from them those about its Lease, between two times. Pure."""
    resources = [request.resource for request in asked if request.user == user and began <= request.at < ended]
    leases = sum(resource == "leases.coordination.k8s.io" for resource in resources)
    return len(resources) - leases, leases
