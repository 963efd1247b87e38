"""Apple's, AMD's and Intel's GPUs, from what real machines say of themselves."""

from __future__ import annotations

import dataclasses

import pytest
import recorded_hardware as recorded

from vllama_core.detect import apple, drm, memory, sysctl
from vllama_core.detect.apple import Metal
from vllama_core.detect.drm import Card
from vllama_core.hardware import Accelerator, Vendor

MEMORY = memory.on_linux("MemTotal: 32000000 kB\nMemAvailable: 30000000 kB\n", None)
MIB = recorded.MIB


def of(card: Card) -> Accelerator:
    assert card.vendor is not None
    [found] = drm.accelerators([card], card.vendor, MEMORY)
    return found


# -- Apple --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "total", "working_set"), recorded.WORKING_SETS)
def test_without_metals_figure_never_more_is_planned_than_metal_recommends(chip: str, total: int, working_set: float) -> None:
    values = {"machdep.cpu.brand_string": chip, "hw.memsize": str(total)}
    gpu = apple.accelerator(values, None, memory.on_darwin(values))
    assert gpu is not None
    assert gpu.usable <= working_set * MIB + MIB
    assert "two thirds" in gpu.why["usable"]


def test_metals_own_figure_counts() -> None:
    values = sysctl.parse(recorded.M3_PRO) | {"hw.memsize": str(36 << 30)}
    gpu = apple.accelerator(values, Metal(name="Apple M3 Pro", working_set=28991029248), memory.on_darwin(values))
    assert gpu is not None
    assert (gpu.name, gpu.architecture, gpu.usable, gpu.unified) == ("Apple M3 Pro", "M3 Pro", 28991029248, True)


def test_a_limit_that_the_owner_raised_counts_where_metal_is_silent() -> None:
    values = {"machdep.cpu.brand_string": "Apple M2 Max", "hw.memsize": str(32 << 30), "iogpu.wired_limit_mb": "26624"}
    gpu = apple.accelerator(values, None, memory.on_darwin(values))
    assert gpu is not None
    assert gpu.usable == 26624 << 20


def test_an_intel_mac_has_no_accelerator() -> None:
    values = {"machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz", "hw.memsize": str(16 << 30)}
    assert apple.accelerator(values, None, memory.on_darwin(values)) is None


def test_rosetta_is_seen_through() -> None:
    values = {"machdep.cpu.brand_string": "Apple M1", "sysctl.proc_translated": "1"}
    assert apple.is_silicon(values)
    assert apple.is_translated(values)
    assert not apple.is_translated({})


# -- AMD ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "name"), [(90010, "gfx90a"), (90402, "gfx942"), (100300, "gfx1030"), (110003, "gfx1103"), (110501, "gfx1151")]
)
def test_targets_have_the_names_that_rocm_gives_them(version: int, name: str) -> None:
    assert drm.gfx(version) == name


@pytest.mark.parametrize(("node", "slot"), [(recorded.PHOENIX_NODE, "0000:64:00.0"), (recorded.MI210_NODE, "0000:63:00.0")])
def test_a_node_leads_to_its_card(node: str, slot: str) -> None:
    assert drm.slot_of(drm.parse_properties(node)) == slot


def test_a_card_has_the_memory_that_is_on_it() -> None:
    gpu = of(
        Card(slot="0000:12:00.0", pci_id="1002:67DF", driver="amdgpu", vram=8573157376, vram_used=1490378752, gtt=8573157376, gtt_used=0)
    )
    assert (gpu.total, gpu.usable, gpu.free, gpu.unified) == (8573157376, 8573157376, 8573157376 - 1490378752, False)
    assert gpu.name == "AMD GPU 1002:67DF"


def test_graphics_in_a_processor_can_reach_the_machines_memory() -> None:
    card = Card(
        slot="0000:64:00.0", pci_id="1002:15BF", driver="amdgpu", vram=512 * MIB, vram_used=100 * MIB, gtt=14000 * MIB, gtt_used=50 * MIB,
        target=110003,
    )  # fmt: skip
    gpu = of(card)
    assert (gpu.architecture, gpu.unified) == ("gfx1103", True)
    assert (gpu.total, gpu.free) == (14512 * MIB, 14362 * MIB)


def test_cards_come_before_graphics_in_the_processor() -> None:
    own = Card(slot="0000:0a:00.0", pci_id="1002:1681", driver="amdgpu", vram=MIB, target=100305)
    card = Card(slot="0000:64:00.0", pci_id="1002:744C", driver="amdgpu", vram=24 << 30, target=110000)
    assert [gpu.identity for gpu in drm.accelerators([own, card], Vendor.AMD, MEMORY)] == ["0000:64:00.0", "0000:0a:00.0"]


def test_a_card_that_is_given_to_a_virtual_machine_is_left_alone() -> None:
    assert drm.accelerators([Card(slot="0000:12:00.0", pci_id="1002:73FF", driver="vfio-pci")], Vendor.AMD, MEMORY) == ()


# -- Intel --------------------------------------------------------------------------------------------------------------------------------


def test_a_card_whose_driver_does_not_tell_has_no_memory_to_plan_with() -> None:
    event = drm.parse_uevent(recorded.A380_UEVENT)
    gpu = of(Card(slot=event["PCI_SLOT_NAME"], pci_id=event["PCI_ID"], driver=event["DRIVER"]))
    assert (gpu.total, gpu.usable, gpu.free, gpu.unified) == (0, 0, None, False)
    assert gpu.why["total"] == "the i915 driver does not tell"


def test_intels_graphics_in_the_processor_share_its_memory() -> None:
    event = drm.parse_uevent(recorded.COMET_LAKE_UEVENT)
    gpu = of(Card(slot=event["PCI_SLOT_NAME"], pci_id=event["PCI_ID"], driver=event["DRIVER"]))
    assert (gpu.unified, gpu.total, gpu.usable) == (True, MEMORY.total, MEMORY.total * 3 // 4)


def test_other_makers_are_nobody_to_us() -> None:
    assert Card(slot="0000:00:02.0", pci_id="1AF4:1050", driver="virtio-pci").vendor is None


@pytest.mark.parametrize(
    "gpu",
    [
        of(Card(slot="0000:12:00.0", pci_id="1002:67DF", driver="amdgpu", vram=1)),
        of(Card(slot="0000:00:02.0", pci_id="8086:9B41", driver="i915")),
        apple.accelerator({"hw.optional.arm64": "1"}, None, MEMORY),
    ],
)
def test_every_figure_has_its_reason(gpu: Accelerator) -> None:
    assert {field.name for field in dataclasses.fields(Accelerator)} == {*gpu.why, "why"}
