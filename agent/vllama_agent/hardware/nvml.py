"""NVIDIA's cards by NVML. Run as a module it prints a reading as JSON; `read` runs that in a child and takes it in.

https://docs.nvidia.com/deploy/nvml-api: `nvmlDeviceGetMemoryInfo_v2`, `nvmlDeviceGetMigMode`, "Multi Instance GPU Management".
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from vllama_agent.hardware.looking import Absent, Failed, ask
from vllama_core.detect.nvidia import Card, Nvml, Sizes, Slice

SECONDS = 15.0
"""Without persistence mode the driver wakes each card for this, which takes a second or two a card."""
SIGNS = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"), Path("/usr/lib/wsl/lib/libnvidia-ml.so.1"))
"""What NVIDIA's driver makes; the last one is Windows' in its Linux. Without any and without a card on PCI nobody needs to be asked."""


def read(*, on_pci: bool, signs: tuple[Path, ...] = SIGNS) -> Nvml:
    """All cards.

    :param on_pci: whether PCI lists a card of NVIDIA's.
    :raises Absent: there is none.
    :raises Failed: there is one, but NVML says nothing of it.
    """
    driver = any(sign.exists() for sign in signs)
    if not driver and not on_pci:
        raise Absent("no NVIDIA card on PCI, and no NVIDIA driver")
    try:
        return from_json(ask(__name__, seconds=SECONDS))
    except Failed as failed:
        if on_pci and not driver:
            raise Failed(f"PCI lists an NVIDIA card, but its driver cannot be reached from here ({failed})") from None
        raise Failed(f"NVIDIA's driver does not answer: {failed}") from None


def from_json(fields: dict[str, Any]) -> Nvml:
    """The inverse of what a run of this module prints."""
    cards = tuple(_card(card) for card in fields["cards"])
    return Nvml(driver=fields["driver"], cuda=fields["cuda"], cards=cards, broken=tuple(fields["broken"]))


def _card(fields: dict[str, Any]) -> Card:
    slices = fields["slices"]
    parts = None if slices is None else tuple(Slice(**part | {"memory": _sizes(part["memory"])}) for part in slices)
    return Card(**fields | {"capability": tuple(fields["capability"]), "memory": _sizes(fields["memory"]), "slices": parts})


def _sizes(fields: dict[str, int] | None) -> Sizes | None:
    return None if fields is None else Sizes(**fields)


# -- in the child -----------------------------------------------------------------------------------------------------------------------


def query(nvml: Any) -> Nvml:
    """A reading.

    :param nvml: the module `pynvml`, or what stands for it.
    :raises pynvml.NVMLError: NVML as a whole does not work.
    """
    nvml.nvmlInit()
    cards, broken = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            cards.append(_query_card(nvml, index))
        except nvml.NVMLError as error:  # one card fell off the bus: the others work
            broken.append(f"card {index} does not answer: {error}")
    cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
    return Nvml(driver=nvml.nvmlSystemGetDriverVersion(), cuda=cuda, cards=tuple(cards), broken=tuple(broken))


def _query_card(nvml: Any, index: int) -> Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Card(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        capability=(major, minor),
        memory=_query_memory(nvml, handle),
        slices=_query_slices(nvml, handle),
    )


def _query_memory(nvml: Any, handle: Any) -> Sizes | None:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return None
        if error.value not in (nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH):
            raise
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)  # drivers before 510 count what is reserved as used
        return Sizes(total=memory.total, reserved=0, free=memory.free)
    return Sizes(total=memory.total, reserved=memory.reserved, free=memory.free)


def _query_slices(nvml: Any, handle: Any) -> tuple[Slice, ...] | None:
    try:
        enabled, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return None
        raise
    if enabled != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    return tuple(part for place in range(count) if (part := _query_slice(nvml, handle, place)) is not None)


def _query_slice(nvml: Any, card: Any, place: int) -> Slice | None:
    try:
        handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, place)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_FOUND:  # nobody made a slice there
            return None
        raise
    return Slice(
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        gpu_instance=nvml.nvmlDeviceGetGpuInstanceId(handle),
        compute_instance=nvml.nvmlDeviceGetComputeInstanceId(handle),
        memory=_query_memory(nvml, handle),
    )


def main() -> None:
    """Print a reading, or why there is none."""
    import pynvml

    try:
        print(json.dumps(dataclasses.asdict(query(pynvml))))
    except pynvml.NVMLError as error:
        print(json.dumps({"failed": str(error)}))


if __name__ == "__main__":
    main()
