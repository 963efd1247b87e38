"""What a machine has for running models, as values. Pure: `detect` makes them from readings, `vllama_agent.hardware` takes the readings.

Each value carries `why`: a sentence for each of its fields that says where the figure comes from, or what cut it. Sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

Why = Mapping[str, str]
"""Field name: the reason for its value."""


class Vendor(StrEnum):
    """Who made an accelerator: decides which engine and which backend can use it."""

    NVIDIA = "nvidia"
    APPLE = "apple"
    AMD = "amd"
    INTEL = "intel"


class Outcome(StrEnum):
    """How a probe ended."""

    FOUND = "found"
    ABSENT = "absent"
    """It has nothing to look at here: no driver, another system."""
    FAILED = "failed"
    """It ought to have answered and did not: an error of the driver, a timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processors that this process may use."""

    name: str
    """Such as ``AMD EPYC 9554 64-Core Processor``; empty where the system does not tell."""
    architecture: str
    """``x86_64`` or ``arm64``, else as the system says."""
    logical: int
    """Logical CPUs that the affinity allows."""
    cores: int
    """Physical cores among them; on Apple Silicon the fast ones."""
    quota: float | None
    """Cores' worth of time that the control group grants; None = no limit."""
    threads: int
    """Threads worth starting: cores within the quota."""
    features: tuple[str, ...]
    """Of AVX, AVX2, FMA, F16C, AVX-512, AVX-512-VNNI, AVX-512-BF16, AVX-VNNI, AMX, NEON, DOTPROD, I8MM, SVE, SVE2, SME."""
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The machine's memory, as far as this process may take it."""

    total: int
    """Installed."""
    limit: int | None
    """The tightest limit of the control groups; None = none."""
    available: int
    """What may be taken now without swapping, within the limit."""
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A GPU, or a MIG slice of one, that this process may use."""

    vendor: Vendor
    index: int
    """Its place among those that this process may use, as the engine will count them."""
    name: str
    identity: str
    """What names it for good: ``GPU-…`` or ``MIG-…``, a PCI address, ``metal``."""
    total: int
    """Memory on it; of a MIG slice its own. With `unified`: what of the machine's it can reach. 0 = the system does not tell (Intel cards
    under the i915 driver); the engine's own report does."""
    usable: int
    """The part of `total` that an engine may plan with: Metal's recommended working set, else what the driver does not keep."""
    free: int | None
    """What of it is free now; None = the system does not tell."""
    unified: bool
    """Its memory is the machine's own, so bytes there and in `Machine.memory` are the same bytes."""
    architecture: str | None
    """``sm_90``, ``gfx1100``, ``M3 Max``; None = not known."""
    compute_capability: tuple[int, int] | None
    """NVIDIA's, such as (9, 0); None for others."""
    driver: str | None
    """Version of the kernel driver; None = the system does not tell."""
    cuda: tuple[int, int] | None
    """The newest CUDA that this driver runs, such as (12, 8); None for others."""
    mig: bool
    """A slice of a card."""
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How looking for one kind of hardware ended."""

    name: str
    """What was looked at: ``cpu``, ``memory``, ``nvidia``, ``amd``, ``intel`` or ``apple``."""
    outcome: Outcome
    detail: str
    """A sentence: what was found, why there is nothing, what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that was found."""

    system: str
    """As `platform.system()` says: ``Linux``, ``Darwin``, ``Windows``."""
    container: bool
    """Whether this process runs in a container, which may lack devices that the machine has."""
    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...]
    """In the order of their vendors here, then by index."""
    probes: tuple[Probe, ...]

    def of(self, vendor: Vendor) -> tuple[Accelerator, ...]:
        """The accelerators of one vendor."""
        return tuple(found for found in self.accelerators if found.vendor is vendor)

    def probe(self, name: str) -> Probe | None:
        """How looking for one kind of hardware ended; None: nobody looked, because this system cannot have it."""
        return next((probe for probe in self.probes if probe.name == name), None)
