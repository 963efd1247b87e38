"""Apple Silicon's GPU: its memory is the machine's, and Metal says how much of it a program should keep busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllama_core.detect import sysctl
from vllama_core.hardware import Accelerator, Memory, Vendor

WIRED_LIMIT = "iogpu.wired_limit_mb"
"""MiB that its owner lets the GPU have (``sudo sysctl iogpu.wired_limit_mb=…``); 0 = the system decides."""
ESTIMATE = 2 / 3
"""Share of the memory that Metal recommends at least: two thirds on Macs of 16 and 32 GB, three quarters and more on larger ones, by
the ``recommendedMaxWorkingSetSize`` that llama.cpp printed on them (docs/hardware.md has the list)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metal:
    """A reading of Metal's default device.

    :ivar working_set: its ``recommendedMaxWorkingSetSize``, in bytes.
    """

    name: str
    working_set: int


def is_silicon(values: Mapping[str, str]) -> bool:
    """Whether a Mac has Apple's own processor, also when asked by an x86-64 program under Rosetta."""
    return values.get("hw.optional.arm64") == "1" or values.get("machdep.cpu.brand_string", "").startswith("Apple ")


def is_translated(values: Mapping[str, str]) -> bool:
    """Whether this very process is an x86-64 one under Rosetta, for which Metal's kernels cannot be built."""
    return values.get("sysctl.proc_translated") == "1"


def accelerator(values: Mapping[str, str], metal: Metal | None, memory: Memory) -> Accelerator | None:
    """The GPU of a Mac; None: it has no Apple processor.

    :param values: of ``sysctl``, by name.
    :param metal: None: it was not asked, or did not answer.
    """
    if not is_silicon(values):
        return None
    chip = values.get("machdep.cpu.brand_string", "")
    usable, why = _usable(values, metal, memory)
    return Accelerator(
        vendor=Vendor.APPLE,
        index=0,
        name=metal.name if metal else chip,
        identity="metal",
        total=memory.total,
        usable=usable,
        free=None,
        unified=True,
        architecture=chip.removeprefix("Apple ") or None,
        compute_capability=None,
        driver=None,
        cuda=None,
        mig=False,
        why={
            "vendor": "sysctl hw.optional.arm64",
            "index": "a Mac has one",
            "name": "Metal's default device" if metal else "sysctl machdep.cpu.brand_string",
            "identity": "a Mac has one",
            "total": "the machine's memory, which the GPU shares",
            "usable": why,
            "free": "Metal does not tell",
            "unified": "Apple Silicon's GPU shares the machine's memory",
            "architecture": "sysctl machdep.cpu.brand_string",
            "compute_capability": "only NVIDIA's cards have one",
            "driver": "it is part of macOS",
            "cuda": "only NVIDIA's cards run it",
            "mig": "only NVIDIA's cards have slices",
        },
    )


def _usable(values: Mapping[str, str], metal: Metal | None, memory: Memory) -> tuple[int, str]:
    if metal:
        return metal.working_set, "Metal's recommendedMaxWorkingSetSize"
    wired = sysctl.number(values, WIRED_LIMIT)
    if wired:
        return min(wired << 20, memory.total), f"sysctl {WIRED_LIMIT}"
    return int(memory.total * ESTIMATE), "two thirds of the memory, the least that Metal recommends: Metal itself gave no figure"
