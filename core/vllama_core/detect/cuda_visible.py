"""Which NVIDIA devices a CUDA program sees, and in which order: CUDA_VISIBLE_DEVICES, by CUDA's rules.

https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html#cuda-visible-devices: indices as nvidia-smi
has them, or UUIDs, which may be cut; what follows an invalid entry is not visible; an empty value hides all. That a repeated entry hides
all, that numbers are read as strtoul does, and that one list holds one kind of entry, is what PyTorch found (torch/cuda/__init__.py,
``_parse_visible_devices``).
https://docs.nvidia.com/datacenter/tesla/mig-user-guide: a program sees one MIG slice only, and beside one no whole card.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A whole card, or a slice of one.

    :ivar card: the card's index, as NVML counts.
    :ivar uuids: names it goes by: ``GPU-…``, or of a slice ``MIG-…``, both as NVML writes it and in the form of older drivers,
        ``MIG-GPU-<card's UUID>/<GPU instance>/<compute instance>``.
    """

    card: int
    uuids: tuple[str, ...]
    mig: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """Positions in the list of devices, in CUDA's order, and why it is these."""

    positions: tuple[int, ...]
    why: str


def visible(devices: Sequence[Device], value: str | None) -> Visible:
    """What a CUDA program sees of all devices; a card that is cut into slices stands in the list with its slices only.

    :param value: of CUDA_VISIBLE_DEVICES; None: it is not set.
    """
    if value is None:
        return _with_one_slice(devices, tuple(range(len(devices))), f"{VARIABLE} is not set: every device is seen")
    entries = [entry.strip() for entry in value.split(",")]
    by_uuid = entries[0].startswith(("GPU-", "MIG-"))
    found: list[int] = []
    for entry in entries:
        matching = _by_uuid(devices, entry) if by_uuid else _by_index(devices, entry)
        if not matching:
            break
        if matching[0] in found:
            return Visible(positions=(), why=f"{VARIABLE}={value} names a device twice, which hides all")
        found.append(matching[0])
    if not found:
        return Visible(positions=(), why=f"{VARIABLE}={value} names no device that is here")
    return _with_one_slice(devices, tuple(found), f"{VARIABLE}={value}")


def _by_index(devices: Sequence[Device], entry: str) -> list[int]:
    """A card's index means its first slice where it has slices."""
    number = re.match(r"[+-]?\d+", entry)
    if number is None:
        return []
    return [position for position, device in enumerate(devices) if device.card == int(number.group())]


def _by_uuid(devices: Sequence[Device], entry: str) -> list[int]:
    """The one device that the entry names; an entry that fits several names none. A card's UUID means its first slice."""
    fitting = [position for position, device in enumerate(devices) if any(_names(uuid, entry) for uuid in device.uuids)]
    cards = {devices[position].card for position in fitting}
    return fitting if len(fitting) == 1 or (len(cards) == 1 and entry.startswith("GPU-")) else []


def _names(uuid: str, entry: str) -> bool:
    """Cut or whole; a bare prefix names nothing. Slices' old form ends in numbers, which must not be cut."""
    if len(entry) <= len("GPU-"):
        return False
    return uuid == entry if "/" in entry else uuid.startswith(entry)


def _with_one_slice(devices: Sequence[Device], positions: tuple[int, ...], why: str) -> Visible:
    slices = [position for position in positions if devices[position].mig]
    if slices and len(positions) > 1:
        return Visible(
            positions=(slices[0],), why=f"{why}, but of several MIG slices CUDA sees the first only, and beside it no whole card"
        )
    return Visible(positions=positions, why=why)
