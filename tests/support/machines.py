"""Machines of every kind, made by the real interpretation from what real ones said."""

from __future__ import annotations

import recorded_hardware as recorded

from vllama_core.detect import apple, cpu, drm, memory, nvidia
from vllama_core.detect.apple import Metal
from vllama_core.detect.drm import Card
from vllama_core.detect.nvidia import Nvml
from vllama_core.engine_build import Build, EngineName
from vllama_core.hardware import Accelerator, Machine, Outcome, Probe, Vendor

PYTHON = "/opt/vllama/bin/python"
MEMORY = memory.on_linux("MemTotal: 64000000 kB\nMemAvailable: 60000000 kB\n", None)
FLAGS = "flags\t: avx avx2 fma f16c\n"
RADEON = Card(
    slot="0000:12:00.0", pci_id="1002:744C", driver="amdgpu", product="Radeon RX 7900 XTX", vram=24 << 30, vram_used=0, target=110000
)
LAPTOP = Card(
    slot="0000:64:00.0", pci_id="1002:15BF", driver="amdgpu", vram=512 << 20, vram_used=0, gtt=16 << 30, gtt_used=0, target=110003
)
ARC = Card(slot="0000:0b:00.0", pci_id="8086:E20B", driver="xe", vram=12 << 30)
INTEL_LAPTOP = Card(slot="0000:00:02.0", pci_id="8086:9B41", driver="i915")


def machine(*gpus: Accelerator, system: str = "Linux", probes: tuple[Probe, ...] = (), container: bool = False) -> Machine:
    """One with these GPUs and eight cores."""
    processor = cpu.on_linux(cpuinfo=FLAGS, machine="x86_64", logical=16, cores=8, quota=None)
    return Machine(system=system, container=container, cpu=processor, memory=MEMORY, accelerators=gpus, probes=probes)


def with_nvidia(nvml: Nvml = recorded.A10, **environment: str) -> Machine:
    """One with NVIDIA's cards."""
    gpus, detail = nvidia.accelerators(nvml, MEMORY, environment)
    return machine(*gpus, probes=(Probe(name="nvidia", outcome=Outcome.FOUND, detail=detail),))


def with_cards(*cards: Card) -> Machine:
    """One with AMD's and Intel's cards."""
    return machine(*(gpu for vendor in (Vendor.AMD, Vendor.INTEL) for gpu in drm.accelerators(cards, vendor, MEMORY)))


def mac() -> Machine:
    """A MacBook Pro with an M3 Pro."""
    gpu = apple.accelerator({"hw.optional.arm64": "1"}, Metal(name="Apple M3 Pro", working_set=27 << 30), MEMORY)
    assert gpu is not None
    return machine(gpu, system="Darwin")


def llama_cpp(*backends: str) -> Build:
    """llama.cpp, built for these."""
    return Build(engine=EngineName.LLAMA_CPP, version="0.3.36", install="run: make run", backends=backends)


def vllm(version: str | None = "0.32.0") -> Build:
    """vLLM, installed or not."""
    return Build(engine=EngineName.VLLM, version=version, install="run: vllama engines install vllm")
