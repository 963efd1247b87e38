"""How many cores and how much memory this process may use: the machine's, cut by affinity and by the container's limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from vllama_agent.hardware import cgroup

PROC = Path("/proc")
TOPOLOGY = Path("/sys/devices/system/cpu")
UNKNOWN_MEMORY = 8 << 30
"""Bytes assumed where the system does not tell."""


def parse_meminfo(text: str) -> int:
    """Bytes that programs may still take, of ``/proc/meminfo``.

    :raises ValueError: it does not say.
    """
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    raise ValueError("no MemAvailable line")


def physical_cores(cpus: Iterable[int], topology: Path = TOPOLOGY) -> int:
    """How many cores these logical CPUs are. Two threads of one core share its vector units: a second one slows decoding down.

    Where the system does not tell, each CPU counts as a core.
    """
    siblings = set()
    for cpu in cpus:
        folder = topology / f"cpu{cpu}" / "topology"
        siblings.add(cgroup.read(folder / "core_cpus_list") or cgroup.read(folder / "thread_siblings_list") or str(cpu))
    return len(siblings)


def within_quota(cores: int, quota: float | None) -> int:
    """At least one; of a fraction the whole cores: a thread more than the quota is stopped in every period, and all wait for it."""
    return max(1, cores if quota is None else min(cores, int(quota)))


def usable_cores() -> int:
    """Cores worth a thread each."""
    if sys.platform == "linux":
        cores = physical_cores(os.sched_getaffinity(0))
    else:  # macOS: the fast cores; a thread on a slow one holds up every step
        cores = _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1
    return within_quota(cores, cgroup.cpu_quota())


def available_memory() -> int:
    """Bytes that may still be taken: of the machine, and below the container's limit."""
    if sys.platform != "linux":
        return (_sysctl("hw.memsize") or UNKNOWN_MEMORY) // 2  # what is free now says little there: inactive pages are given back
    machine = parse_meminfo((PROC / "meminfo").read_text())
    limited = cgroup.memory_free()
    return machine if limited is None else min(machine, limited)


def _sysctl(name: str) -> int | None:
    try:
        result = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2.0, check=True)
        return int(result.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
