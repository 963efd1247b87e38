"""NVML's calls, answered by a stand-in with what real cards answered; and the way from the child to the agent."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import recorded_hardware as recorded

from vllama_agent.hardware import nvml
from vllama_agent.hardware.looking import Absent, Failed
from vllama_core.detect.nvidia import Card, Nvml, Sizes, Slice

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is for Linux, where NVIDIA's driver is")
C_SOURCE = Path(__file__).resolve().parents[1] / "support" / "nvml_stand_in.c"


class StandIn:
    """The functions of `pynvml` that are called, over a reading; its constants and errors are the real ones.

    :param lost: cards that fell off the bus.
    :param old: the driver does not know the second version of the memory's structure.
    """

    def __init__(self, reading: Nvml, *, lost: tuple[int, ...] = (), old: bool = False) -> None:
        self._reading = reading
        self._lost = lost
        self._old = old

    def __getattr__(self, name: str) -> Any:
        return getattr(pynvml, name)

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlSystemGetDriverVersion(self) -> str:
        return self._reading.driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self._reading.cuda

    def nvmlDeviceGetCount(self) -> int:
        return len(self._reading.cards) + len(self._lost)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        if index in self._lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return next(card for card in self._reading.cards if card.index == index)

    def nvmlDeviceGetUUID(self, handle: Card | Slice) -> str:
        return handle.uuid

    def nvmlDeviceGetName(self, handle: Card | Slice) -> str:
        return handle.name

    def nvmlDeviceGetCudaComputeCapability(self, handle: Card) -> list[int]:
        return list(handle.capability)

    def nvmlDeviceGetMemoryInfo(self, handle: Card | Slice, version: int | None = None) -> Any:
        sizes = handle.memory
        if sizes is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        if version and self._old:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        kind = pynvml.c_nvmlMemory_v2_t if version else pynvml.c_nvmlMemory_t
        memory = kind()
        memory.total, memory.free = sizes.total, sizes.free
        if version:
            memory.reserved = sizes.reserved
        return memory

    def nvmlDeviceGetMigMode(self, handle: Card) -> list[int]:
        if handle.name.startswith("NVIDIA A10") and "A100" not in handle.name:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)  # nvidia-smi prints it as N/A
        mode = pynvml.NVML_DEVICE_MIG_DISABLE if handle.slices is None else pynvml.NVML_DEVICE_MIG_ENABLE
        return [mode, mode]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Card) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, place: int) -> Slice:
        slices = card.slices or ()
        if place >= len(slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return slices[place]

    def nvmlDeviceGetGpuInstanceId(self, handle: Slice) -> int:
        return handle.gpu_instance

    def nvmlDeviceGetComputeInstanceId(self, handle: Slice) -> int:
        return handle.compute_instance


@pytest.mark.parametrize("reading", [recorded.A10, recorded.DGX_A100, recorded.SLICED_A100])
def test_everything_that_is_wanted_is_asked_and_reaches_the_agent(reading: Nvml) -> None:
    said = nvml.query(StandIn(reading))
    assert said == reading
    assert nvml.from_json(json.loads(json.dumps(dataclasses.asdict(said)))) == reading


def test_every_function_that_is_asked_exists_in_the_library() -> None:
    """The stand-in would answer under a wrong name too."""
    for name in (name for name in vars(StandIn) if name.startswith("nvml")):
        assert callable(getattr(pynvml, name))


def test_a_lost_card_leaves_the_others() -> None:
    said = nvml.query(StandIn(recorded.DGX_A100, lost=(8,)))
    assert said.cards == recorded.DGX_A100.cards
    assert said.broken == ("card 8 does not answer: GPU is lost",)


def test_an_older_driver_tells_its_memory_without_what_it_keeps() -> None:
    [card] = nvml.query(StandIn(recorded.A10, old=True)).cards
    assert card.memory == Sizes(total=23028 << 20, reserved=0, free=22503 << 20)


def test_a_card_without_memory_of_its_own_is_taken_in() -> None:
    card = dataclasses.replace(recorded.A10.cards[0], memory=None)
    reading = dataclasses.replace(recorded.A10, cards=(card,))
    assert nvml.from_json(json.loads(json.dumps(dataclasses.asdict(nvml.query(StandIn(reading)))))) == reading


# -- the real binding and the real child, over a library in C ------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A libnvidia-ml.so.1 that children find; NVML_STAND_IN says what it does."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("this machine has no C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(C_SOURCE)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    return monkeypatch


def test_a_card_reaches_the_agent_through_the_library_and_the_child(library: pytest.MonkeyPatch) -> None:
    assert nvml.read(on_pci=True) == recorded.A10


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crash", "vllama_agent.hardware.nvml ended with signal 11"),
        ("hang", "vllama_agent.hardware.nvml took longer than 0.5 s and was stopped; the driver may hang"),
        ("refuse", "Driver Not Loaded"),
    ],
)
def test_a_library_that_crashes_hangs_or_refuses_costs_the_child_alone(mode: str, words: str, library: pytest.MonkeyPatch) -> None:
    library.setenv("NVML_STAND_IN", mode)
    if mode == "hang":
        library.setattr(nvml, "SECONDS", 0.5)
    with pytest.raises(Failed) as caught:
        nvml.read(on_pci=True)
    assert words in str(caught.value)


# -- whether anybody is asked ----------------------------------------------------------------------------------------------------


def test_nobody_is_asked_where_nothing_speaks_for_a_card(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="no NVIDIA card on PCI, and no NVIDIA driver"):
        nvml.read(on_pci=False, signs=(tmp_path / "nvidiactl",))


def test_a_container_without_the_gpu_is_told_from_a_machine_without_one(tmp_path: Path) -> None:
    """PCI's list is the host's also in a container; here the real child finds no library."""
    with pytest.raises(Failed) as caught:
        nvml.read(on_pci=True, signs=(tmp_path / "nvidiactl",))
    assert "PCI lists an NVIDIA card, but its driver cannot be reached from here (NVML Shared Library Not Found)" in str(caught.value)


def test_a_driver_that_does_not_answer_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidiactl").touch()

    def mismatch(_module: str, *, seconds: float) -> dict[str, Any]:
        raise Failed("RM has detected an NVML/RM version mismatch.")

    monkeypatch.setattr(nvml, "ask", mismatch)
    with pytest.raises(Failed, match=r"NVIDIA's driver does not answer: RM has detected an NVML/RM version mismatch"):
        nvml.read(on_pci=True, signs=(tmp_path / "nvidiactl",))


def test_the_structure_is_the_librarys() -> None:
    """`reserved` exists in the second version alone, which is why it is asked for."""
    fields = dict(pynvml.c_nvmlMemory_v2_t._fields_)
    assert fields["reserved"] is ctypes.c_ulonglong
    assert "reserved" not in dict(pynvml.c_nvmlMemory_t._fields_)
