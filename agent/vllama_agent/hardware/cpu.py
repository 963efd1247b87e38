"""How many cores and how much memory this process may use: the machine's, cut by affinity and by the container's limits."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from vllama_agent.hardware import cgroup, sysctl
from vllama_agent.hardware.looking import Failed
from vllama_core.detect import cpu, memory
from vllama_core.hardware import Cpu, Memory

PROC = Path("/proc")
TOPOLOGY = Path("/sys/devices/system/cpu")


def physical_cores(cpus: Iterable[int], topology: Path = TOPOLOGY) -> int:
    """How many cores these logical CPUs are. Two threads of one core share its vector units: a second one slows decoding down.

    Where the system does not tell, each CPU counts as a core.
    """
    siblings = set()
    for number in cpus:
        folder = topology / f"cpu{number}" / "topology"
        siblings.add(cgroup.read(folder / "core_cpus_list") or cgroup.read(folder / "thread_siblings_list") or str(number))
    return len(siblings)


def processors() -> Cpu:
    """The processors that this process may use."""
    machine, logical = platform.machine(), os.cpu_count() or 1
    if sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
        text = cgroup.read(PROC / "cpuinfo") or ""
        cores = physical_cores(allowed)
        return cpu.on_linux(cpuinfo=text, machine=machine, logical=len(allowed), cores=cores, quota=cgroup.cpu_quota())
    values = _sysctl()
    return cpu.on_darwin(values, machine=machine, logical=logical) if values else cpu.unknown(machine=machine, logical=logical)


def installed() -> Memory:
    """The memory that this process may take.

    :raises ValueError: /proc/meminfo does not say.
    """
    if sys.platform == "linux":
        return memory.on_linux((PROC / "meminfo").read_text(), cgroup.memory_limit())
    return memory.on_darwin(_sysctl())


def usable_cores() -> int:
    """Cores worth a thread each."""
    return processors().threads


def available_memory() -> int:
    """Bytes that may still be taken: of the machine, and below the container's limit."""
    return installed().available


def _sysctl() -> dict[str, str]:
    """Empty where there is none: what is assumed then says so."""
    try:
        return sysctl.read()
    except Failed:
        return {}
