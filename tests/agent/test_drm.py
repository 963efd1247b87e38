"""Cards in sysfs: trees made of what real machines have there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import recorded_hardware as recorded

from vllama_agent.hardware import drm
from vllama_agent.hardware.looking import Absent, Failed
from vllama_core.detect.drm import Card
from vllama_core.hardware import Vendor

RX_580 = recorded.PHOENIX_UEVENT.replace("1002:15BF", "1002:67DF").replace("0000:64:00.0", "0000:03:00.0")


def test_a_processors_graphics_are_found_with_their_target(tmp_path: Path) -> None:
    vram = {"mem_info_vram_total": 536870912, "mem_info_vram_used": 1, "mem_info_gtt_total": 14680064, "mem_info_gtt_used": 2}
    root = recorded.sysfs(tmp_path, {"card1": (recorded.PHOENIX_UEVENT, vram)}, (recorded.EPYC_NODE, recorded.PHOENIX_NODE))
    found, detail = drm.of(Vendor.AMD, root=root)
    assert found == [
        Card(slot="0000:64:00.0", pci_id="1002:15BF", driver="amdgpu", vram=536870912, vram_used=1, gtt=14680064, gtt_used=2, target=110003)
    ]
    assert detail == "0000:64:00.0 by amdgpu"


def test_a_card_that_no_node_names_has_no_target(tmp_path: Path) -> None:
    root = recorded.sysfs(tmp_path, {"card0": (RX_580, recorded.RX_580_VRAM)}, (recorded.EPYC_NODE, recorded.MI210_NODE))
    [card], _ = drm.of(Vendor.AMD, root=root)
    assert (card.vram, card.vram_used, card.target) == (8573157376, 1490378752, None)


def test_names_and_versions_of_drivers_are_read_where_they_are(tmp_path: Path) -> None:
    root = recorded.sysfs(tmp_path, {"card0": (RX_580, {})})
    (root / "module" / "amdgpu").mkdir(parents=True)
    (root / "module" / "amdgpu" / "version").write_text("6.10.5\n")
    (root / "bus" / "pci" / "devices" / "0000:03:00.0" / "product_name").write_text("Radeon RX 580\n")
    [card], _ = drm.of(Vendor.AMD, root=root)
    assert (card.product, card.driver_version) == ("Radeon RX 580", "6.10.5")


@pytest.mark.parametrize(
    ("uevent", "numbers", "driver", "vram"),
    [
        (recorded.B580_UEVENT, {"tile0/physical_vram_size_bytes": 12 << 30}, "xe", 12 << 30),
        (recorded.B580_UEVENT, {"tile0/physical_vram_size_bytes": 8 << 30, "tile1/physical_vram_size_bytes": 8 << 30}, "xe", 16 << 30),
        (recorded.A380_UEVENT, {}, "i915", None),
    ],
)
def test_intels_cards_tell_their_memory_under_xe_alone(
    uevent: str, numbers: dict[str, int], driver: str, vram: int | None, tmp_path: Path
) -> None:  # fmt: skip
    [card], detail = drm.of(Vendor.INTEL, root=recorded.sysfs(tmp_path, {"card1": (uevent, numbers)}))
    assert (card.driver, card.vram) == (driver, vram)
    assert detail == f"0000:0b:00.0 by {driver}"


def test_two_makers_are_kept_apart(tmp_path: Path) -> None:
    root = recorded.sysfs(tmp_path, {"card0": (recorded.COMET_LAKE_UEVENT, {}), "card1": (RX_580, recorded.RX_580_VRAM)})
    assert [card.slot for card in drm.of(Vendor.INTEL, root=root)[0]] == ["0000:00:02.0"]
    assert [card.slot for card in drm.of(Vendor.AMD, root=root)[0]] == ["0000:03:00.0"]
    assert drm.on_pci(root) == {Vendor.INTEL: "0000:00:02.0", Vendor.AMD: "0000:03:00.0"}


def test_without_sysfs_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="no AMD card on PCI"):
        drm.of(Vendor.AMD, root=tmp_path)


def test_a_card_whose_driver_is_missing_is_a_failure(tmp_path: Path) -> None:
    root = recorded.sysfs(tmp_path, {"card0": (RX_580.replace("DRIVER=amdgpu", "DRIVER=vfio-pci"), {})})
    with pytest.raises(Failed, match=r"PCI lists an AMD card at 0000:03:00\.0, but no driver \(amdgpu\) offers it here"):
        drm.of(Vendor.AMD, root=root)


def test_device_files_that_cannot_be_opened_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dri").mkdir()
    node, kfd = tmp_path / "dri" / "renderD128", tmp_path / "kfd"
    assert drm.closed([Vendor.AMD], root=tmp_path) == (f"{kfd} (missing)", f"{tmp_path}/dri/renderD* (missing)")
    node.touch()
    kfd.touch()
    assert drm.closed([Vendor.AMD], root=tmp_path) == ()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert drm.closed([Vendor.AMD], root=tmp_path) == (str(kfd), str(node))
    assert drm.closed([Vendor.INTEL], root=tmp_path) == (str(node),)
    assert drm.closed([Vendor.NVIDIA], root=tmp_path) == ()
