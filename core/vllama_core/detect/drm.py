"""AMD's and Intel's GPUs, from what their kernel drivers write below /sys/class/drm and /sys/class/kfd. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vllama_core.hardware import Accelerator, Memory, Vendor

VENDORS = {0x1002: Vendor.AMD, 0x8086: Vendor.INTEL, 0x10DE: Vendor.NVIDIA}
"""PCI vendor ids."""
MAKERS = {Vendor.AMD: "AMD", Vendor.INTEL: "Intel", Vendor.NVIDIA: "NVIDIA", Vendor.APPLE: "Apple"}
DRIVERS = {Vendor.AMD: ("amdgpu",), Vendor.INTEL: ("i915", "xe")}
"""Kernel drivers whose cards can compute; of others (``vfio-pci``, ``radeon``) nothing can be used here."""
INTEGRATED = frozenset(
    [
        "gfx902",
        "gfx909",
        "gfx90c",
        "gfx1013",
        "gfx1033",
        "gfx1035",
        "gfx1036",
        "gfx1037",
        "gfx1103",
        "gfx1150",
        "gfx1151",
        "gfx1152",
        "gfx1153",
    ]
)
"""AMD's targets that are part of a processor: those marked APU in https://llvm.org/docs/AMDGPUUsage.html#processors"""
INTEL_SHARE = 3 / 4
"""Of the machine's memory, what Mesa's Vulkan driver offers on Intel's integrated GPUs (``anv_compute_sys_heap_size``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the system tells of one card.

    :ivar slot: its PCI address, such as ``0000:64:00.0``.
    :ivar pci_id: such as ``1002:15BF``.
    :ivar driver: the kernel driver's name; empty: it has none.
    :ivar product: the name that the driver gives it; most drivers give none.
    :ivar vram, vram_used: memory of its own; None: the driver does not tell.
    :ivar gtt, gtt_used: memory of the machine that it can reach.
    :ivar target: KFD's ``gfx_target_version``, such as 110003; None: the kernel does not offer it for computing.
    """

    slot: str
    pci_id: str
    driver: str
    driver_version: str | None = None
    product: str | None = None
    vram: int | None = None
    vram_used: int | None = None
    gtt: int | None = None
    gtt_used: int | None = None
    target: int | None = None

    @property
    def vendor(self) -> Vendor | None:
        """None: a maker whose cards nothing here can use."""
        return VENDORS.get(int(self.pci_id.partition(":")[0] or "0", 16))

    @property
    def architecture(self) -> str | None:
        """AMD's name of its instruction set."""
        return gfx(self.target) if self.target else None

    @property
    def integrated(self) -> bool:
        """Whether it is part of the processor. Intel's stands at this address by convention (drivers/gpu/drm/i915/i915_pci.c)."""
        if self.vendor is Vendor.INTEL:
            return self.slot == "0000:00:02.0"
        return self.architecture in INTEGRATED


def parse_uevent(text: str) -> dict[str, str]:
    """The ``NAME=value`` lines of a sysfs ``uevent``."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def parse_properties(text: str) -> dict[str, int]:
    """The ``name value`` lines of a KFD node's ``properties``."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def slot_of(properties: Mapping[str, int]) -> str:
    """The PCI address of a KFD node: its location is bus, device and function in 8, 5 and 3 bits (kfd_topology.c)."""
    location = properties.get("location_id", 0)
    return f"{properties.get('domain', 0):04x}:{location >> 8:02x}:{location >> 3 & 0x1F:02x}.{location & 7:x}"


def gfx(version: int) -> str:
    """``gfx90a`` of 90010: major, minor and stepping in two decimal digits each, the last two written as hexadecimal ones."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def accelerators(cards: Iterable[Card], vendor: Vendor, memory: Memory) -> tuple[Accelerator, ...]:
    """The usable ones of one maker, by PCI address; cards before what is part of the processor, as llama.cpp takes them."""
    usable = [card for card in cards if card.vendor is vendor and card.driver in DRIVERS[vendor]]
    ordered = sorted(usable, key=lambda card: (card.integrated, card.slot))
    return tuple(_accelerator(index, card, vendor, memory) for index, card in enumerate(ordered))


def _accelerator(index: int, card: Card, vendor: Vendor, memory: Memory) -> Accelerator:
    total, usable, free, why = _sizes(card, memory)
    return Accelerator(
        vendor=vendor,
        index=index,
        name=card.product or f"{MAKERS[vendor]} GPU {card.pci_id}",
        identity=card.slot,
        total=total,
        usable=usable,
        free=free,
        unified=card.integrated,
        architecture=card.architecture,
        compute_capability=None,
        driver=card.driver_version,
        cuda=None,
        mig=False,
        why={
            "vendor": f"its PCI id is {card.pci_id}",
            "index": "by PCI address, cards before what is part of the processor",
            "name": "the driver's product_name" if card.product else "the driver tells no name, so the PCI id stands for it",
            "identity": "its PCI address",
            "total": why,
            "usable": why,
            "free": why if free is not None else "the driver does not tell",
            "unified": "it is part of the processor" if card.integrated else "it has memory of its own",
            "architecture": "gfx_target_version of /sys/class/kfd" if card.target else "no KFD node names it",
            "compute_capability": "only NVIDIA's cards have one",
            "driver": f"/sys/module/{card.driver}/version" if card.driver_version else f"{card.driver}, as this kernel has it",
            "cuda": "only NVIDIA's cards run it",
            "mig": "only NVIDIA's cards have slices",
        },
    )


def _sizes(card: Card, memory: Memory) -> tuple[int, int, int | None, str]:
    """(total, usable, free, why)"""
    if card.vendor is Vendor.INTEL and card.integrated:
        return memory.total, int(memory.total * INTEL_SHARE), None, "three quarters of the machine's memory, as Mesa's Vulkan driver offers"
    if card.vram is None:
        return 0, 0, None, f"the {card.driver} driver does not tell"
    shared, shared_used = (card.gtt or 0, card.gtt_used or 0) if card.integrated else (0, 0)
    total = card.vram + shared
    why = (
        "mem_info_vram_total and, because it shares the machine's memory, mem_info_gtt_total" if shared else "what the driver tells of VRAM"
    )
    return total, total, total - card.vram_used - shared_used if card.vram_used is not None else None, why
