"""What stands in the way of serving well on this machine, and what to do about it. Pure: `vllama doctor` gathers, this decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vllama_core import human
from vllama_core.engine_build import BACKENDS, Build, EngineName, backends_for, rebuild
from vllama_core.engine_choice import OWN, why_not_vllm
from vllama_core.hardware import Accelerator, Machine, Outcome, Vendor
from vllama_core.placement import Device

LITTLE_DISK = 5 << 30
"""Bytes that a store should have: an 8B model in Q4_K_M and room to work."""
LITTLE_MEMORY = 1 << 30
"""Bytes below which hardly any model can be loaded."""


class Level(StrEnum):
    """How much a problem matters."""

    ERROR = "error"
    """Nothing can be served, or not where it was meant to run."""
    WARNING = "warning"
    """It serves, but slower or less than the machine could."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, as a sentence, and what to do about it."""

    level: Level
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCpp:
    """llama.cpp as it was found when it was loaded once.

    :ivar problem: why it cannot be used; None: it can.
    :ivar devices: what its backends found; empty where it was not loaded.
    """

    build: Build
    problem: str | None
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is around the agent, beside hardware and engines.

    :ivar settings: why the environment's variables cannot be used; None: they can.
    :ivar address: where `vllama serve` would listen.
    :ivar listener: who listens there: ``vllama``, ``Ollama``, ``another program``; None: nobody.
    :ivar home: the store's folder.
    :ivar unwritable: why nothing can be written there; None: it can.
    :ivar disk_free: bytes free there; None: the system does not tell.
    :ivar closed: device files of GPUs that are missing, or that this user must not open.
    :ivar cuda_order: value of CUDA_DEVICE_ORDER.
    :ivar python: the interpreter that has llama.cpp.
    :ivar engine: what VLLAMA_ENGINE says; None: automatic.
    :ivar gpu_layers: what VLLAMA_GPU_LAYERS says; 0 = the CPU is meant.
    """

    settings: str | None
    address: str
    listener: str | None
    home: str
    unwritable: str | None
    disk_free: int | None
    closed: tuple[str, ...]
    cuda_order: str | None
    python: str
    engine: EngineName | None = None
    gpu_layers: int = -1


def diagnose(machine: Machine, llama: LlamaCpp, around: Surroundings) -> tuple[Problem, ...]:
    """All problems, worst first."""
    found = [*_engine(machine, llama, around), *_probes(machine), *_gpus(machine, around), *_cpu(machine), *_around(around)]
    order = list(Level)
    return tuple(sorted(found, key=lambda problem: order.index(problem.level)))


# -- engines ----------------------------------------------------------------------------------------------------------------------------


def _engine(machine: Machine, llama: LlamaCpp, around: Surroundings) -> Iterator[Problem]:
    if llama.problem is not None:
        yield Problem(level=Level.ERROR, what=f"llama.cpp cannot be used: {llama.problem}", remedy=llama.build.install)
        return
    if around.gpu_layers == 0:
        return
    for vendor in Vendor:
        gpus = machine.of(vendor)
        if gpus:
            yield from _backend(gpus, vendor, llama, around)


def _backend(gpus: tuple[Accelerator, ...], vendor: Vendor, llama: LlamaCpp, around: Surroundings) -> Iterator[Problem]:
    usable = [name for name in backends_for(vendor) if name in llama.build.backends]
    level = Level.ERROR if vendor in OWN else Level.NOTE if all(gpu.unified for gpu in gpus) else Level.WARNING
    name = gpus[0].name
    if not usable:
        own = BACKENDS[backends_for(vendor)[0]].title
        yield Problem(
            level=level, what=f"llama.cpp is built without {own}: {name} lies idle", remedy=_rebuilds(vendor, gpus[0], llama, around)
        )
    elif not any(device.is_gpu for device in llama.devices):
        title = BACKENDS[usable[0]].title
        remedy = f"check that {title}'s libraries are installed and that they know the card (`{TOOLS[usable[0]]}`)"
        yield Problem(
            level=level, what=f"llama.cpp is built with {title}, but found no device by it, although {name} is here", remedy=remedy
        )


TOOLS = {
    "cuda": "nvidia-smi",
    "metal": "system_profiler SPDisplaysDataType",
    "hip": "rocminfo",
    "sycl": "sycl-ls",
    "vulkan": "vulkaninfo --summary",
}
"""The programs that list what a backend's libraries find."""
NEEDS = {
    "cuda": "needs the CUDA toolkit",
    "metal": "needs Xcode's command line tools",
    "hip": "needs ROCm",
    "sycl": "needs Intel's oneAPI, whose setvars.sh is sourced first",
    "vulkan": "needs the packages libvulkan-dev, glslc and spirv-headers",
}


def _rebuilds(vendor: Vendor, gpu: Accelerator, llama: LlamaCpp, around: Surroundings) -> str:
    """A command line for each backend that could run there."""
    version = llama.build.version or ""
    lines = [
        f"{BACKENDS[name].title} ({NEEDS[name]}): {rebuild(name, version=version, python=around.python, target=gpu.architecture)}"
        for name in backends_for(vendor)
    ]
    return "build it anew. " + "; or ".join(lines)


# -- hardware ---------------------------------------------------------------------------------------------------------------------------

OUTSIDE = {
    "nvidia": "install NVIDIA's driver, or restart after an update of it; `nvidia-smi` has to work before vllama can",
    "amd": "load the amdgpu driver, and let this user open /dev/kfd and /dev/dri (groups render and video)",
    "intel": "load the i915 or xe driver, and let this user open /dev/dri (group render)",
    "apple": "install an arm64 Python and vllama for it: file $(command -v python3) tells which one is there",
}
INSIDE = {
    "nvidia": "start the container with the GPU: docker run --gpus all … (with the NVIDIA Container Toolkit on the host), in Kubernetes "
    "resources.limits: {nvidia.com/gpu: 1}",
    "amd": "start the container with the GPU: docker run --device /dev/kfd --device /dev/dri --group-add video …, in Kubernetes "
    "resources.limits: {amd.com/gpu: 1}",
    "intel": "start the container with the GPU: docker run --device /dev/dri …, in Kubernetes resources.limits: {gpu.intel.com/xe: 1}",
}


def _probes(machine: Machine) -> Iterator[Problem]:
    for probe in machine.probes:
        if probe.outcome is Outcome.FAILED:
            inside = INSIDE.get(probe.name) if machine.container else None
            remedy = inside or OUTSIDE.get(probe.name, "the system does not tell; limits are assumed")
            yield Problem(level=Level.WARNING, what=probe.detail, remedy=remedy)


def _gpus(machine: Machine, around: Surroundings) -> Iterator[Problem]:
    nvidia = machine.of(Vendor.NVIDIA)
    probe = machine.probe("nvidia")
    if probe is not None and probe.outcome is Outcome.FOUND and not nvidia:
        yield Problem(
            level=Level.WARNING, what=f"no NVIDIA card can be used: {probe.detail}", remedy="unset CUDA_VISIBLE_DEVICES, or correct it"
        )
    hindrance = why_not_vllm(machine)
    if hindrance:
        what, _, remedy = hindrance.partition("; ")
        yield Problem(level=Level.NOTE, what=what, remedy=remedy)
    if len({gpu.name for gpu in nvidia}) > 1 and around.cuda_order != "PCI_BUS_ID":
        remedy = "export CUDA_DEVICE_ORDER=PCI_BUS_ID, or name cards by UUID in CUDA_VISIBLE_DEVICES"
        yield Problem(level=Level.NOTE, what="CUDA numbers different cards by speed, not as nvidia-smi does", remedy=remedy)
    if around.closed:
        maker = "amd" if machine.of(Vendor.AMD) else "intel"
        remedy = INSIDE[maker] if machine.container else "sudo usermod -aG render,video $USER, then log in again"
        yield Problem(level=Level.WARNING, what=f"the GPU cannot be used: not to be opened: {', '.join(around.closed)}", remedy=remedy)
    for gpu in (*machine.of(Vendor.AMD), *machine.of(Vendor.INTEL)):
        if not gpu.total:
            remedy = "give --gpu-layers by hand, or use the xe driver, which tells"
            yield Problem(level=Level.NOTE, what=f"the memory of {gpu.name} is not known: {gpu.why['total']}", remedy=remedy)


def _cpu(machine: Machine) -> Iterator[Problem]:
    cpu, memory = machine.cpu, machine.memory
    if cpu.architecture == "x86_64" and cpu.features and "AVX2" not in cpu.features:
        remedy = "build llama.cpp on this machine; ready-made images for x86-64-v3 do not run here"
        yield Problem(level=Level.WARNING, what="the processor has no AVX2, without which models run several times slower", remedy=remedy)
    if cpu.quota is not None and cpu.quota < cpu.cores:
        what = f"the control group grants {cpu.quota:g} of {cpu.cores} cores, so {cpu.threads} thread(s) are used"
        level = Level.NOTE if cpu.quota >= 1 else Level.WARNING
        yield Problem(level=level, what=what, remedy="raise the limit: docker run --cpus, resources.limits.cpu, CPUQuota= of the unit")
    if memory.limit is not None and memory.limit < memory.total:
        what = f"the control group limits memory to {human.size(memory.limit)} of {human.size(memory.total)}"
        yield Problem(
            level=Level.NOTE, what=what, remedy="raise the limit: docker run --memory, resources.limits.memory, MemoryMax= of the unit"
        )
    if memory.available < LITTLE_MEMORY:
        what = f"only {human.size(memory.available)} of memory can be taken"
        yield Problem(level=Level.WARNING, what=what, remedy="end other programs, or raise the limit; few models fit into less than 1 GB")


# -- surroundings -----------------------------------------------------------------------------------------------------------------------


def _around(around: Surroundings) -> Iterator[Problem]:
    if around.settings is not None:
        yield Problem(level=Level.ERROR, what=around.settings, remedy="correct or unset it; docs/configuration.md lists what is allowed")
    if around.listener not in (None, "vllama"):
        remedy = "stop it, or choose another port: vllama serve --port N"
        yield Problem(level=Level.ERROR, what=f"{around.listener} listens on {around.address}", remedy=remedy)
    if around.unwritable is not None:
        remedy = "let this user write there, or name another place: VLLAMA_HOME=/path"
        yield Problem(level=Level.ERROR, what=f"{around.home} cannot be written: {around.unwritable}", remedy=remedy)
    if around.disk_free is not None and around.disk_free < LITTLE_DISK:
        what = f"{human.size(around.disk_free)} are free in {around.home}, too little for most models"
        remedy = "vllama du shows what models take, vllama gc and vllama rm free space; or VLLAMA_HOME=/path on a larger disk"
        yield Problem(level=Level.WARNING, what=what, remedy=remedy)
