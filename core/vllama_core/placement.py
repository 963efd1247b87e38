"""Does the engine run where it was to run? Its own report, after the load, against the choice. Pure. Sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vllama_core.engine_build import BACKENDS

if TYPE_CHECKING:  # the worker reads what it has loaded, and chooses nothing
    from vllama_core.engine_choice import Choice


class DeviceKind(StrEnum):
    """``enum ggml_backend_dev_type`` of llama.cpp, in its order."""

    CPU = "cpu"
    GPU = "gpu"
    IGPU = "igpu"
    ACCEL = "accel"
    """Works beside the CPU on its memory, such as BLAS or AMX."""
    META = "meta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that the engine's libraries found.

    :ivar name: such as ``CUDA0``.
    :ivar description: such as ``NVIDIA A10``.
    """

    name: str
    description: str
    kind: DeviceKind
    total: int
    free: int

    @property
    def is_gpu(self) -> bool:
        """Whether layers can be put there."""
        return self.kind in (DeviceKind.GPU, DeviceKind.IGPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a loaded engine says about itself.

    :ivar offloaded: layers on GPUs; None: it did not say, because it found no GPU.
    :ivar layers: layers that could be there, the output layer counted.
    :ivar gpu_bytes: weights, KV cells and buffers on GPUs.
    """

    devices: tuple[Device, ...]
    offloaded: int | None
    layers: int | None
    gpu_bytes: int


OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
"""``llama_model_base::load_tensors`` of llama.cpp's src/llama-model.cpp; printed where a GPU was found."""
BUFFER = re.compile(r"(\S+) +(?:model|KV|RS|compute|output) buffer size += +([\d.]+) MiB")
"""src/llama-model.cpp, llama-kv-cache.cpp, llama-memory-recurrent.cpp, llama-context.cpp: the buffer type's name stands before it."""


def is_about_place(line: str) -> bool:
    """Whether `report_of` reads something from a line of the log."""
    return bool(OFFLOADED.search(line) or BUFFER.search(line))


def report_of(devices: tuple[Device, ...], log: Iterable[str]) -> Report:
    """The report that llama.cpp makes by its devices and by the lines that it logs while it loads."""
    offloaded = layers = None
    gpu_mebibytes = 0.0
    names = tuple(device.name for device in devices if device.is_gpu)
    for line in log:
        if counted := OFFLOADED.search(line):
            offloaded, layers = int(counted[1]), int(counted[2])
        elif (buffer := BUFFER.search(line)) and _lies_on(buffer[1], names):
            gpu_mebibytes += float(buffer[2])
    return Report(devices=devices, offloaded=offloaded, layers=layers, gpu_bytes=round(gpu_mebibytes * (1 << 20)))


def from_fields(fields: dict[str, Any]) -> Report:
    """The inverse of `dataclasses.asdict`, for what came through a wire."""
    return Report(**fields | {"devices": devices_from(fields["devices"])})


def devices_from(fields: Iterable[dict[str, Any]]) -> tuple[Device, ...]:
    """As `from_fields`, of the devices alone."""
    return tuple(Device(**device | {"kind": DeviceKind(device["kind"])}) for device in fields)


def _lies_on(buffer_type: str, names: tuple[str, ...]) -> bool:
    """Of ``CUDA0``: itself, ``CUDA0_Split``; not ``CUDA_Host``, which is the machine's memory, and not ``CUDA01``."""
    return any(buffer_type == name or buffer_type.startswith(f"{name}_") for name in names)


def mismatch(choice: Choice, report: Report, *, gpu_layers: int) -> str | None:
    """What runs elsewhere than it was to run, as a sentence with the way out; None: all is where it belongs.

    :param gpu_layers: what `--gpu-layers` says; -1 = all.
    """
    if not choice.accelerators:
        return None
    gpu, backend = choice.accelerators[0].name, BACKENDS[choice.backend].title if choice.backend in BACKENDS else choice.backend
    if not any(device.is_gpu for device in report.devices):
        why = "; ".join(choice.warnings) or f"llama.cpp has {backend}, but found no GPU by it; `vllama doctor` looks for the reason"
        return f"runs on the CPU although {gpu} is here: {why}. If the CPU is meant, say --gpu-layers 0"
    if report.offloaded is None or report.layers is None:
        return f"does not say how much of it is on {gpu}: llama.cpp printed no line about offloaded layers"
    wanted = report.layers if gpu_layers < 0 else min(gpu_layers, report.layers)
    if report.offloaded < wanted:
        return f"has {report.offloaded} of {report.layers} layers on {gpu}, {wanted} were planned: the rest runs on the CPU"
    return None
