"""What a container or a service manager lets this process have, read from control groups.

Limits stand at every level of the tree, and the tightest one counts; in a container only the own level can be seen, as the root.
https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max) · cgroup-v1/memory.html and sched-bwc.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vllama_core.detect.cpu import Quota
from vllama_core.detect.memory import Limit

CGROUP = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")
V1_UNLIMITED = 1 << 60
"""v1 writes a huge number where there is no limit."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A level with a limit, in bytes. `cache` is page cache that the kernel drops first: it counts as used but is free to take."""

    limit: int
    used: int
    cache: int

    @property
    def free(self) -> int:
        """Bytes that may still be taken."""
        return max(0, self.limit - self.used + self.cache)


def parse_cpu_max(text: str) -> float | None:
    """Cores of a v2 ``cpu.max``, such as ``150000 100000``; None = no limit."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" or not period else int(quota) / int(period)


def parse_limit(text: str) -> int | None:
    """Bytes of ``memory.max`` or v1's ``memory.limit_in_bytes``; None = no limit."""
    text = text.strip()
    return None if text == "max" or int(text) >= V1_UNLIMITED else int(text)


def parse_inactive_file(text: str) -> int:
    """Bytes of idle page cache, of a ``memory.stat``."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def parse_membership(text: str) -> dict[str, str]:
    """Controller: path of a ``/proc/self/cgroup``; v2's own entry has the empty name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def levels(controller: str, *, root: Path = CGROUP, membership: Path = SELF) -> list[Path]:
    """The folders whose limits hold for this process, its own first, in v2's tree and in that controller's v1 tree."""
    paths = parse_membership(read(membership) or "")
    found: list[Path] = []
    for base, path in ((root, paths.get("", "/")), (root / controller, paths.get(controller, "/"))):
        if ".." in path:  # seen from a namespace that does not hold it
            path = "/"
        here = base / path.strip("/")
        found += [level for level in (here, *here.parents) if level.is_relative_to(base)]
    return found


def cpu_quota(*, root: Path = CGROUP, membership: Path = SELF) -> Quota | None:
    """The quota that grants least; None = no quota."""
    found = [Quota(cores=cores, where=str(level)) for level in levels("cpu", root=root, membership=membership) if (cores := _quota(level))]
    return min(found, key=lambda quota: quota.cores, default=None)


def _quota(level: Path) -> float | None:
    if text := read(level / "cpu.max"):
        return parse_cpu_max(text)
    quota, period = read(level / "cpu.cfs_quota_us"), read(level / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def memory_limit(*, root: Path = CGROUP, membership: Path = SELF) -> Limit | None:
    """The limit that leaves least; None = no limit."""
    found = [
        Limit(limit=memory.limit, free=memory.free, where=str(level))
        for level in levels("memory", root=root, membership=membership)
        if (memory := _memory(level)) is not None
    ]
    return min(found, key=lambda limit: limit.free, default=None)


def _memory(level: Path) -> Memory | None:
    for limit_name, used_name in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        limit_text, used_text = read(level / limit_name), read(level / used_name)
        if limit_text and used_text and (limit := parse_limit(limit_text)) is not None:
            return Memory(limit, int(used_text), parse_inactive_file(read(level / "memory.stat") or ""))
    return None


def read(path: Path) -> str | None:
    """A small file's text; None if it is not there or not for us."""
    try:
        return path.read_text()
    except OSError:
        return None
