"""What CUDA_VISIBLE_DEVICES leaves of NVIDIA's cards and slices, and what they are."""

from __future__ import annotations

import dataclasses

import pytest
import recorded_hardware as recorded

from vllama_core.detect import memory, nvidia
from vllama_core.detect.nvidia import Card, Nvml
from vllama_core.hardware import Accelerator

MEMORY = memory.on_linux("MemTotal: 1000 kB\nMemAvailable: 800 kB\n", None)
FIRST, SECOND = (part.uuid for part in recorded.SLICED_A100.cards[0].slices or ())
CARD = recorded.SLICED_A100.cards[0].uuid
DGX = [card.uuid for card in recorded.DGX_A100.cards]


def seen(nvml: Nvml, visible: str | None) -> list[str]:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return [gpu.identity for gpu in nvidia.accelerators(nvml, MEMORY, environment)[0]]


@pytest.mark.parametrize(
    ("visible", "cards"),
    [
        (None, range(8)),
        ("", []),
        ("2,1", [2, 1]),
        (" 3 , 0 ", [3, 0]),
        ("0,2,-1,1", [0, 2]),
        ("0,9,1", [0]),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,1", []),
        ("1gpu,2", [1, 2]),
        ("0,GPU-00000001", [0]),
        ("GPU-00000003,GPU-00000001", [3, 1]),
        (DGX[5], [5]),
        ("GPU-0000000", []),
        ("GPU-", []),
        ("GPU-ffffffff,GPU-00000001", []),
        ("GPU-00000001,0", [1]),
    ],
)
def test_indices_and_uuids_count_as_cuda_counts_them(visible: str | None, cards: list[int]) -> None:
    assert seen(recorded.DGX_A100, visible) == [DGX[card] for card in cards]


@pytest.mark.parametrize(
    ("visible", "slices"),
    [
        (None, [FIRST]),
        ("0", [FIRST]),
        (SECOND, [SECOND]),
        ("MIG-53864714", [SECOND]),
        (f"MIG-{CARD}/11/0", [SECOND]),
        (f"MIG-{CARD}/1", []),
        (CARD, [FIRST]),
        (f"{SECOND},{FIRST}", [SECOND]),
        ("MIG-", []),
        ("MIG-00000000", []),
    ],
)
def test_a_program_sees_one_slice(visible: str | None, slices: list[str]) -> None:
    assert seen(recorded.SLICED_A100, visible) == slices


def test_beside_a_slice_no_whole_card_is_seen() -> None:
    whole = dataclasses.replace(recorded.A10.cards[0], index=1)
    mixed = dataclasses.replace(recorded.SLICED_A100, cards=(*recorded.SLICED_A100.cards, whole))
    assert seen(mixed, None) == [FIRST]
    assert seen(mixed, "1") == [whole.uuid]


def test_a_card_tells_what_it_is() -> None:
    [gpu], detail = nvidia.accelerators(recorded.A10, MEMORY, {})
    assert (gpu.name, gpu.architecture, gpu.compute_capability) == ("NVIDIA A10", "sm_86", (8, 6))
    assert (gpu.driver, gpu.cuda, gpu.mig, gpu.unified) == ("550.127.05", (12, 4), False, False)
    assert detail == "1 card, 1 device, driver 550.127.05; CUDA_VISIBLE_DEVICES is not set: every device is seen"


def test_what_the_driver_keeps_is_not_usable() -> None:
    """PyTorch on this card counts 22,502 MiB in all, and so will whoever plans with it."""
    [gpu], _ = nvidia.accelerators(recorded.A10, MEMORY, {})
    assert (gpu.total, gpu.usable, gpu.free) == (23028 << 20, 22502 << 20, 22503 << 20)


def test_a_slice_has_its_own_memory() -> None:
    [gpu], detail = nvidia.accelerators(recorded.SLICED_A100, MEMORY, {})
    assert (gpu.mig, gpu.total) == (True, 9856 << 20)
    assert gpu.why["mig"] == "GPU instance 9 of card 0"
    assert "1 card, 1 of them cut by MIG, 2 devices" in detail


def test_a_card_without_memory_of_its_own_has_the_machines() -> None:
    """Grace Blackwell's GB10 answers "Not Supported"."""
    card = Card(index=0, uuid="GPU-1", name="NVIDIA GB10", capability=(12, 1), memory=None)
    [gpu], _ = nvidia.accelerators(Nvml(driver="580.95.05", cuda=13000, cards=(card,)), MEMORY, {})
    assert (gpu.unified, gpu.total, gpu.usable) == (True, MEMORY.total, MEMORY.available)


def test_a_card_whose_slices_nobody_made_can_run_nothing() -> None:
    empty = dataclasses.replace(recorded.SLICED_A100, cards=(dataclasses.replace(recorded.SLICED_A100.cards[0], slices=()),))
    found, detail = nvidia.accelerators(empty, MEMORY, {})
    assert found == ()
    assert "card 0 has MIG on and no slice" in detail


def test_cards_that_do_not_answer_are_named_before_the_others() -> None:
    broken = dataclasses.replace(recorded.A10, broken=("card 3 does not answer: GPU is lost",))
    assert nvidia.accelerators(broken, MEMORY, {})[1].startswith("card 3 does not answer: GPU is lost; 1 card,")


@pytest.mark.parametrize("nvml", [recorded.A10, recorded.SLICED_A100])
def test_every_figure_has_its_reason(nvml: Nvml) -> None:
    [gpu], _ = nvidia.accelerators(nvml, MEMORY, {})
    assert {field.name for field in dataclasses.fields(Accelerator)} == {*gpu.why, "why"}
