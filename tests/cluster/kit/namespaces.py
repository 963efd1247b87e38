"""Network, mounts, processes and cgroups of a cluster's own: nothing of the host's is changed, and their first process ends all of it.

Root only. The first node shares them with the control plane; each further one has its own inside of them, joined by a bridge.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kit import network, node
from kit.network import Node

UNSHARE = (
    *("unshare", "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"),
    *("--propagation", "private"),
)
CGROUPS = Path("/sys/fs/cgroup")
FOLDERS = ("/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni/net.d")
"""Where a node's programs keep their state; each node has its own there."""
_INTO = 'exec nsenter --target $(cat /proc/{pid}/task/{pid}/children) --net --mount --pid --cgroup --ipc --uts --wd=. -- "$@"'


def into(pid: str) -> list[str]:
    """Words before a command that is to run in the namespaces of an `unshare`, whose only child is their first process."""
    return ["sh", "-c", _INTO.format(pid=pid), "sh"]


def make_cgroups(name: str) -> list[Path]:
    """One below each of this process's own."""
    made = []
    for names, folder in _own_cgroups().items():
        mine = folder / name
        mine.mkdir()
        if names == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (mine / file).write_text((folder / file).read_text())
        made.append(mine)
    return made


def entering(groups: list[Path]) -> Callable[[], None]:
    """What a child does first, to be in them."""

    def enter() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter


def remove_cgroups(groups: list[Path], *, seconds: float = 30.0) -> None:
    """With all below them.

    :param seconds: how long the kernel may take to end the processes in them.
    """
    limit = time.monotonic() + seconds
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(0.05)


def private_mounts(state: Path) -> None:
    """Give this mount namespace its own /sys, cgroups, /run, resolver and folders of programs.

    Images lie in memory: on a disk, their thousands of files would take longer to remove than all the rest.
    """
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount_cgroups()
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for folder in FOLDERS:
        mine = state / folder.strip("/").replace("/", "-")
        mine.mkdir(parents=True, exist_ok=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(mine), folder)
    _mount("-t", "tmpfs", "tmpfs", "/var/lib/containerd")
    mine, resolver = state / "resolv.conf", Path("/etc/resolv.conf").resolve()
    search = "default.svc.cluster.local svc.cluster.local cluster.local"
    mine.write_text(f"search {search}\nnameserver {network.DNS_IP}\noptions ndots:5\n")
    if resolver.is_relative_to("/run"):  # which is empty now
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    _mount("--bind", str(mine), str(resolver))


def private_network(own: Node, nodes: tuple[Node, ...]) -> None:
    """Give this network namespace its addresses, routes and CNI configuration."""
    _ip("link", "set", "lo", "up")
    device, route = ("node0", ("dev", "node0")) if own.is_first else ("eth0", ("via", network.CONTROL_PLANE_IP))
    if own.is_first:
        _ip("link", "add", device, "type", "bridge")
    _ip("address", "add", f"{own.ip}/24", "dev", device)
    _ip("link", "set", device, "up")
    _ip("route", "add", "default", *route)
    for other in nodes:
        if other != own:
            _ip("route", "add", other.pods, "via", other.ip)
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        switch = Path("/proc/sys/net", name)
        if switch.exists():
            switch.write_text("1")
    Path("/etc/cni/net.d/10-bridge.conflist").write_text(node.cni_config(own))


def join(other: Node) -> None:
    """Make a network namespace for a further node, with a cable to the first one's bridge."""
    _ip("netns", "add", other.name)
    _ip("link", "add", other.name, "type", "veth", "peer", "name", "eth0", "netns", other.name)
    _ip("link", "set", other.name, "master", "node0", "up")


def _own_cgroups() -> dict[str, Path]:
    """Controllers, and the folder of this process's cgroup for them."""
    mounts: dict[Path, set[str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()
        if kind in ("cgroup", "cgroup2"):
            mounts[Path(left.split()[4])] = set(options.split(",")) if kind == "cgroup" else {""}
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for folder, options in mounts.items():
            if set(names.split(",")) <= options:
                found[names] = folder / path.lstrip("/")
    return found


def _mount_cgroups() -> None:
    hierarchies = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    if any(names and not names.startswith("name=") for names in hierarchies):
        _mount("-t", "tmpfs", "tmpfs", str(CGROUPS))
        for names in hierarchies:
            folder = CGROUPS / (names.removeprefix("name=") or "unified")
            folder.mkdir()
            options = ("-o", f"none,{names}" if names.startswith("name=") else names)
            _mount("-t", *(("cgroup", *options) if names else ("cgroup2",)), "cgroup", str(folder))
        return
    _mount("-t", "cgroup2", "cgroup", str(CGROUPS))
    # a group that passes controllers on may hold no process itself
    (CGROUPS / "init").mkdir()
    for pid in (CGROUPS / "cgroup.procs").read_text().split():
        (CGROUPS / "init" / "cgroup.procs").write_text(pid)
    for name in (CGROUPS / "cgroup.controllers").read_text().split():
        (CGROUPS / "cgroup.subtree_control").write_text(f"+{name}")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
