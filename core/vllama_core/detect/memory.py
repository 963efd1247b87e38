"""Memory that this process may take. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllama_core.detect import sysctl
from vllama_core.hardware import Memory

UNKNOWN = 8 << 30
"""Assumed where the system does not tell: what nearly every machine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The control group's limit that leaves least: `limit` at `where`, of which `free` may still be taken."""

    limit: int
    free: int
    where: str


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name of /proc/meminfo's lines in kB."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in pairs if rest.strip().endswith("kB")}


def on_linux(meminfo: str, limit: Limit | None) -> Memory:
    """The memory of a Linux machine, cut by the control groups' tightest limit.

    :raises ValueError: the text does not say how much there is.
    """
    sizes = parse_meminfo(meminfo)
    if not {"MemTotal", "MemAvailable"} <= sizes.keys():
        raise ValueError("/proc/meminfo has no MemTotal or no MemAvailable line")
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    cut = limit is not None and limit.free < available
    return Memory(
        total=total,
        limit=limit.limit if limit else None,
        available=min(available, limit.free) if limit else available,
        why={
            "total": "MemTotal of /proc/meminfo",
            "limit": f"the control group's limit at {limit.where}" if limit else "no control group limits memory",
            "available": "what is left below the control group's limit, idle page cache counted as free"
            if cut
            else "MemAvailable of /proc/meminfo",
        },
    )


def on_darwin(values: Mapping[str, str]) -> Memory:
    """The memory of a Mac.

    :param values: of ``sysctl``, by name.
    """
    told = sysctl.number(values, "hw.memsize")
    total = told or UNKNOWN
    return Memory(
        total=total,
        limit=None,
        available=total // 2,
        why={
            "total": "sysctl hw.memsize" if told else "the system does not tell: 8 GiB are assumed",
            "limit": "macOS has no control groups",
            "available": "half of all: what is free now says little there, because inactive pages are given back on demand",
        },
    )


def unknown() -> Memory:
    """The memory of a machine that tells nothing."""
    why = "the system does not tell: 8 GiB are assumed"
    return Memory(
        total=UNKNOWN, limit=None, available=UNKNOWN // 2, why={"total": why, "limit": why, "available": f"{why}, and half of them taken"}
    )
