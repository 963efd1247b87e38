"""How many cores and how much memory this process may use: the machine's, cut by affinity and by the container's limits.

https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max); cgroup v1 where v2 is absent.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def parse_cpu_max(text: str) -> float | None:
    """Cores of a v2 ``cpu.max``, such as ``150000 100000``; None = no limit."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" or not period else int(quota) / int(period)


def parse_limit(text: str) -> int | None:
    """Bytes of ``memory.max`` or v1's ``memory.limit_in_bytes``; None = no limit (v1 writes a huge number for that)."""
    text = text.strip()
    return None if text == "max" or int(text) >= 1 << 60 else int(text)


def parse_meminfo(text: str) -> int:
    """Bytes that programs may still take, of ``/proc/meminfo``."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    raise ValueError("no MemAvailable line")


def parse_inactive_file(text: str) -> int:
    """Bytes of page cache that the kernel drops first, of a cgroup's ``memory.stat``; they count as used but are free to take."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _quota(root: Path) -> float | None:
    if text := _read(root / "cpu.max"):
        return parse_cpu_max(text)
    quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def usable_cores(root: Path = CGROUP) -> int:
    """Cores worth a thread each; at least 1."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1
    quota = _quota(root)
    return max(1, min(cores, int(quota) if quota else cores))


def available_memory(root: Path = CGROUP, proc: Path = PROC) -> int:
    """Bytes that may still be taken: of the machine, and below the container's limit."""
    if sys.platform != "linux":
        return (_sysctl("hw.memsize") or 8 << 30) // 2
    available = parse_meminfo((proc / "meminfo").read_text())
    for limit_name, used_name, stat_name in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        limit_text, used_text = _read(root / limit_name), _read(root / used_name)
        if limit_text and used_text and (limit := parse_limit(limit_text)) is not None:
            cache = parse_inactive_file(_read(root / stat_name) or "")
            available = min(available, limit - int(used_text) + cache)
    return max(0, available)


def _sysctl(name: str) -> int | None:
    try:
        result = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2.0, check=True)
        return int(result.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
