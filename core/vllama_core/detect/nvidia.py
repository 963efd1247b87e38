"""NVIDIA cards and MIG slices, from what NVML says of all and what CUDA_VISIBLE_DEVICES leaves of them. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllama_core.detect import cuda_visible
from vllama_core.hardware import Accelerator, Memory, Vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """An ``nvmlMemory_v2_t``: `total` is all memory, `reserved` what driver and firmware keep, which is part of neither other figure."""

    total: int
    reserved: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A MIG slice of a card.

    :ivar memory: None: NVML does not tell.
    """

    uuid: str
    name: str
    gpu_instance: int
    compute_instance: int
    memory: Sizes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card.

    :ivar memory: None: NVML does not tell, because the card has none of its own (Grace Blackwell's GB10, Jetson).
    :ivar slices: None: MIG is off; empty: it is on, but nobody has made a slice, so nothing can run there.
    """

    index: int
    uuid: str
    name: str
    capability: tuple[int, int]
    memory: Sizes | None
    slices: tuple[Slice, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvml:
    """A reading of NVML.

    :ivar cuda: as `cudaDriverGetVersion` counts: 12040 is CUDA 12.4.
    :ivar broken: sentences on cards that do not answer.
    """

    driver: str
    cuda: int
    cards: tuple[Card, ...]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A device as CUDA counts: a card, or a slice of one."""

    card: Card
    part: Slice | None = None

    @property
    def memory(self) -> Sizes | None:
        return self.card.memory if self.part is None else self.part.memory

    @property
    def device(self) -> cuda_visible.Device:
        if self.part is None:
            return cuda_visible.Device(card=self.card.index, uuids=(self.card.uuid,), mig=False)
        older = f"MIG-{self.card.uuid}/{self.part.gpu_instance}/{self.part.compute_instance}"
        return cuda_visible.Device(card=self.card.index, uuids=(self.part.uuid, older, self.card.uuid), mig=True)


def accelerators(nvml: Nvml, memory: Memory, environment: Mapping[str, str]) -> tuple[tuple[Accelerator, ...], str]:
    """What a CUDA program may use here, and why it is these.

    :param memory: the machine's, for cards without memory of their own.
    """
    places = [place for card in nvml.cards for place in _places(card)]
    seen = cuda_visible.visible([place.device for place in places], environment.get(cuda_visible.VARIABLE))
    found = tuple(_accelerator(index, places[position], nvml, memory, seen.why) for index, position in enumerate(seen.positions))
    return found, _summary(nvml, len(places), seen.why)


def _places(card: Card) -> list[_Place]:
    if card.slices is None:
        return [_Place(card)]
    return [_Place(card, part) for part in card.slices]


def _summary(nvml: Nvml, devices: int, why: str) -> str:
    cut = [card for card in nvml.cards if card.slices is not None]
    slices = f", {len(cut)} of them cut by MIG" if cut else ""
    unmade = [str(card.index) for card in cut if not card.slices]
    empty = f"; card {', '.join(unmade)} has MIG on and no slice, so nothing can run there" if unmade else ""
    cards = f"{len(nvml.cards)} card{'s' if len(nvml.cards) != 1 else ''}{slices}"
    told = f"{cards}, {devices} device{'s' if devices != 1 else ''}, driver {nvml.driver}{empty}"
    return "; ".join((*nvml.broken, told, why))


def _accelerator(index: int, place: _Place, nvml: Nvml, memory: Memory, why_seen: str) -> Accelerator:
    card, part, sizes = place.card, place.part, place.memory
    major, minor = card.capability
    unified = sizes is None and part is None
    total, usable, free = _sizes(sizes, memory, unified=unified)
    why_sizes = _why_sizes(sizes, unified=unified)
    return Accelerator(
        vendor=Vendor.NVIDIA,
        index=index,
        name=part.name if part else card.name,
        identity=part.uuid if part else card.uuid,
        total=total,
        usable=usable,
        free=free,
        unified=unified,
        architecture=f"sm_{major}{minor}",
        compute_capability=card.capability,
        driver=nvml.driver,
        cuda=(nvml.cuda // 1000, nvml.cuda % 1000 // 10),
        mig=part is not None,
        why={
            "vendor": "NVML lists it",
            "index": why_seen,
            "name": "NVML",
            "identity": "its UUID, by NVML",
            "total": why_sizes,
            "usable": "all but what driver and firmware keep, which CUDA counts as not there" if sizes else why_sizes,
            "free": why_sizes,
            "unified": "NVML tells no memory of its own" if unified else "it has memory of its own",
            "architecture": "from its compute capability",
            "compute_capability": "NVML",
            "driver": "NVML",
            "cuda": "the newest that this driver runs, by NVML",
            "mig": f"GPU instance {part.gpu_instance} of card {card.index}" if part else "MIG is off on this card",
        },
    )


def _sizes(sizes: Sizes | None, memory: Memory, *, unified: bool) -> tuple[int, int, int | None]:
    """(total, usable, free)"""
    if sizes is not None:
        return sizes.total, max(0, sizes.total - sizes.reserved), sizes.free
    return (memory.total, memory.available, memory.available) if unified else (0, 0, None)


def _why_sizes(sizes: Sizes | None, *, unified: bool) -> str:
    if sizes is not None:
        return "NVML"
    return "the machine's memory, because the card has none of its own" if unified else "NVML does not tell it of this slice"
