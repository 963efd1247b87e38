"""Everything that this machine has, looked at once: all kinds at the same time, each with its own time limit."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllama_agent.hardware import cpu, drm, metal, nvml, sysctl
from vllama_agent.hardware.looking import LAST_WORDS, Absent, Failed, Look, Seen, look
from vllama_core import human
from vllama_core.detect import apple, nvidia
from vllama_core.detect import cpu as cpus
from vllama_core.detect import drm as cards
from vllama_core.detect import memory as memories
from vllama_core.hardware import Accelerator, Cpu, Machine, Memory, Outcome, Probe, Vendor

SECONDS = 2.0
"""For /proc: it answers within milliseconds, unless the machine is short of everything."""
SPARE = LAST_WORDS + 1.0
"""Seconds beyond a child's own time limit, to start it and to let it go."""
CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def detect(environment: Mapping[str, str] = os.environ) -> Machine:
    """What is here. Takes milliseconds on a machine without a GPU, and never longer than the longest time limit."""
    seen = look(_looks())
    memory = seen["memory"].reading or memories.unknown()
    processor = seen["cpu"].reading or cpus.unknown(machine=platform.machine(), logical=os.cpu_count() or 1)
    accelerators: list[Accelerator] = []
    probes: list[Probe] = []
    for name, one in seen.items():
        found, probe = _interpret(name, one, memory, environment)
        accelerators += found
        probes.append(probe)
    return Machine(
        system=platform.system(),
        container=in_container(environment),
        cpu=processor,
        memory=memory,
        accelerators=tuple(accelerators),
        probes=tuple(probes),
    )


def in_container(environment: Mapping[str, str], marks: tuple[Path, ...] = CONTAINERS) -> bool:
    """Docker and Podman leave a file, systemd-nspawn and Podman a variable, Kubernetes the address of its API."""
    return any(mark.exists() for mark in marks) or bool({"container", "KUBERNETES_SERVICE_HOST"} & environment.keys())


def _looks() -> list[Look]:
    """What can be here at all, NVIDIA's first."""
    looks = [Look(name="cpu", read=_cpu, seconds=SECONDS), Look(name="memory", read=_memory, seconds=SECONDS)]
    if sys.platform == "darwin":
        return [*looks, Look(name="apple", read=_apple, seconds=sysctl.SECONDS + metal.SECONDS + SPARE)]
    return [
        *looks,
        Look(name="nvidia", read=_nvidia, seconds=nvml.SECONDS + SPARE),
        Look(name="amd", read=_drm(Vendor.AMD), seconds=drm.SECONDS),
        Look(name="intel", read=_drm(Vendor.INTEL), seconds=drm.SECONDS),
    ]


def _cpu() -> tuple[Cpu, str]:
    found = cpu.processors()
    return found, f"{found.threads} thread{'s' if found.threads != 1 else ''}, {found.why['threads']}"


def _memory() -> tuple[Memory, str]:
    found = cpu.installed()
    return found, f"{human.size(found.available)} of {human.size(found.total)}, {found.why['available']}"


def _nvidia() -> tuple[nvidia.Nvml, str]:
    return nvml.read(on_pci=Vendor.NVIDIA in drm.on_pci()), ""


def _drm(vendor: Vendor) -> Callable[[], tuple[list[cards.Card], str]]:
    return lambda: drm.of(vendor)


def _apple() -> tuple[tuple[dict[str, str], apple.Metal | None], str]:
    """Metal is asked only on Apple's own processors. Where it does not answer, sysctl's figures have to do."""
    values = sysctl.read()
    if not apple.is_silicon(values):
        raise Absent("no Apple processor: Metal on Intel's Macs is not used")
    if apple.is_translated(values):
        raise Failed("this Python is an x86-64 one under Rosetta, where llama.cpp has no Metal")
    try:
        return (values, metal.read()), "by Metal"
    except Failed as failed:
        return (values, None), f"by sysctl, because Metal does not answer: {failed}"


def _interpret(name: str, seen: Seen, memory: Memory, environment: Mapping[str, str]) -> tuple[tuple[Accelerator, ...], Probe]:
    """The accelerators that a reading means, and its probe with what the interpretation adds."""
    reading: Any = seen.reading
    if reading is None:
        return (), seen.probe
    match name:
        case "nvidia":
            found, detail = nvidia.accelerators(reading, memory, environment)
            outcome = Outcome.FAILED if reading.broken else Outcome.FOUND
            return found, replace(seen.probe, outcome=outcome, detail=detail)
        case "amd" | "intel":
            return cards.accelerators(reading, Vendor(name), memory), seen.probe
        case "apple":
            values, device = reading
            gpu = apple.accelerator(values, device, memory)
            return (gpu,) if gpu else (), seen.probe
        case _:
            return (), seen.probe
