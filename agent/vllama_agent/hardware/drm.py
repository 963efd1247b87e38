"""AMD's and Intel's cards in sysfs, and every maker's on PCI.

https://docs.kernel.org/gpu/amdgpu/driver-misc.html (mem_info_*) · Documentation/ABI/testing/sysfs-driver-intel-xe-… ; KFD's topology is
described in https://rocm.docs.amd.com. i915 tells no total in the mainline kernel; Intel's own packages of it have ``lmem_total_bytes``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from vllama_agent.hardware.cgroup import read
from vllama_agent.hardware.looking import Absent, Failed
from vllama_core.detect import drm
from vllama_core.detect.drm import Card
from vllama_core.hardware import Vendor

SYS = Path("/sys")
DEV = Path("/dev")
SECONDS = 5.0
CARD = re.compile(r"card\d+")
DISPLAY, ACCELERATOR = "0x03", "0x12"
"""How the PCI classes of display controllers and of processing accelerators begin."""


def on_pci(root: Path = SYS) -> dict[Vendor, str]:
    """The first card of each maker that PCI lists, whether it has a driver or not, by its address."""
    found: dict[Vendor, str] = {}
    for device in sorted(_entries(root / "bus" / "pci" / "devices")):
        vendor = drm.VENDORS.get(int(read(device / "vendor") or "0", 16))
        if vendor and (read(device / "class") or "").startswith((DISPLAY, ACCELERATOR)):
            found.setdefault(vendor, device.name)
    return found


def cards(root: Path = SYS) -> list[Card]:
    """The cards that have a kernel driver for graphics."""
    targets = _targets(root / "class" / "kfd" / "kfd" / "topology" / "nodes")
    entries = [entry for entry in sorted(_entries(root / "class" / "drm")) if CARD.fullmatch(entry.name)]
    return [card for entry in entries if (card := _card(entry, targets, root)) is not None]


def of(vendor: Vendor, *, root: Path = SYS) -> tuple[list[Card], str]:
    """One maker's cards, and a sentence on them.

    :raises Absent: PCI lists none.
    :raises Failed: PCI lists one, but no driver offers it.
    """
    found = [card for card in cards(root) if card.vendor is vendor and card.driver in drm.DRIVERS[vendor]]
    if found:
        return found, f"{', '.join(card.slot for card in found)} by {found[0].driver}"
    maker, slot = drm.MAKERS[vendor], on_pci(root).get(vendor)
    if slot is None:
        raise Absent(f"no {maker} card on PCI")
    raise Failed(f"PCI lists an {maker} card at {slot}, but no driver ({' or '.join(drm.DRIVERS[vendor])}) offers it here")


def closed(vendors: Iterable[Vendor], *, root: Path = DEV) -> tuple[str, ...]:
    """The device files that a program on these makers' cards has to open and cannot, because they are missing or for other users only."""
    wanted = set(vendors)
    if not wanted & drm.DRIVERS.keys():
        return ()
    files = sorted(root.glob("dri/renderD*")) or [root / "dri" / "renderD*"]
    if Vendor.AMD in wanted:
        files.insert(0, root / "kfd")
    missing = [f"{file} (missing)" for file in files if not file.exists()]
    return (*missing, *(str(file) for file in files if file.exists() and not os.access(file, os.R_OK | os.W_OK)))


def _card(entry: Path, targets: dict[str, int], root: Path) -> Card | None:
    """None: no PCI card."""
    device = entry / "device"
    event = drm.parse_uevent(read(device / "uevent") or "")
    slot, pci_id = event.get("PCI_SLOT_NAME"), event.get("PCI_ID")
    if slot is None or pci_id is None:
        return None
    driver = event.get("DRIVER", "")
    return Card(
        slot=slot,
        pci_id=pci_id,
        driver=driver,
        driver_version=_text(root / "module" / driver / "version") if driver else None,
        product=_text(device / "product_name"),
        vram=_number(device / "mem_info_vram_total") or _tiles(device) or _number(entry / "lmem_total_bytes"),
        vram_used=_number(device / "mem_info_vram_used"),
        gtt=_number(device / "mem_info_gtt_total"),
        gtt_used=_number(device / "mem_info_gtt_used"),
        target=targets.get(slot),
    )


def _tiles(device: Path) -> int:
    """Bytes of all tiles of an Intel card under xe; 0 = it does not tell."""
    return sum(_number(file) or 0 for tile in device.glob("tile*") for file in (tile / "physical_vram_size_bytes",))


def _targets(nodes: Path) -> dict[str, int]:
    """``gfx_target_version`` by PCI address; nodes of the processor's own cores have none."""
    found = (drm.parse_properties(read(node / "properties") or "") for node in _entries(nodes))
    return {drm.slot_of(node): node["gfx_target_version"] for node in found if node.get("gfx_target_version")}


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _text(path: Path) -> str | None:
    return (read(path) or "").strip() or None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.isdecimal() else None
