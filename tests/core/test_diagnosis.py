"""Each problem has its sentence and its way out; what is no problem has none."""

from __future__ import annotations

import dataclasses

import pytest
import recorded_hardware as recorded
from machines import ARC, INTEL_LAPTOP, LAPTOP, PYTHON, RADEON, llama_cpp, mac, machine, with_cards, with_nvidia

from vllama_core.detect import cpu, memory
from vllama_core.detect.cpu import Quota
from vllama_core.detect.memory import Limit
from vllama_core.diagnosis import Level, LlamaCpp, Problem, Surroundings, diagnose
from vllama_core.hardware import Machine, Outcome, Probe
from vllama_core.placement import Device, DeviceKind

NEW = dataclasses.replace(recorded.A10, driver="580.95.05", cuda=13000)
CPU = Device(name="CPU", description="AMD EPYC", kind=DeviceKind.CPU, total=1, free=1)
GPU = Device(name="CUDA0", description="NVIDIA A10", kind=DeviceKind.GPU, total=1, free=1)
FINE = Surroundings(
    settings=None, address="127.0.0.1, port 11434", listener=None, home="/home/me/.vllama", unwritable=None, disk_free=100 << 30, closed=(),
    cuda_order=None, python=PYTHON,
)  # fmt: skip
LAYERS_ON_CPU = dataclasses.replace(FINE, gpu_layers=0)


def engine(*backends: str, devices: tuple[Device, ...] = (CPU, GPU), problem: str | None = None) -> LlamaCpp:
    return LlamaCpp(build=llama_cpp(*backends), problem=problem, devices=devices)


def failed(name: str, *, container: bool) -> Machine:
    return machine(probes=(Probe(name=name, outcome=Outcome.FAILED, detail=f"looking at {name} failed"),), container=container)


def with_cpu(
    *, flags: str = "flags\t: avx avx2\n", quota: Quota | None = None, limit: Limit | None = None, available: int = 60_000_000
) -> Machine:
    processor = cpu.on_linux(cpuinfo=flags, machine="x86_64", logical=16, cores=8, quota=quota)
    text = f"MemTotal: 64000000 kB\nMemAvailable: {available} kB\n"
    return dataclasses.replace(machine(), cpu=processor, memory=memory.on_linux(text, limit))


@pytest.mark.parametrize(
    ("here", "llama"),
    [
        (machine(), engine(devices=(CPU,))),
        (with_nvidia(NEW), engine("cuda")),
        (mac(), engine("metal")),
        (with_cards(RADEON), engine("vulkan")),
        (machine(probes=(Probe(name="nvidia", outcome=Outcome.ABSENT, detail="none"),)), engine(devices=(CPU,))),
    ],
)
def test_a_machine_that_is_fine_has_no_problem(here: Machine, llama: LlamaCpp) -> None:
    assert diagnose(here, llama, FINE) == ()


@pytest.mark.parametrize("listener", [None, "vllama"])
def test_a_vllama_that_already_serves_is_no_problem(listener: str | None) -> None:
    assert diagnose(machine(), engine(), dataclasses.replace(FINE, listener=listener)) == ()


@pytest.mark.parametrize(
    ("here", "llama", "around", "level", "what", "remedy"),
    [
        # engines
        (
            machine(),
            engine(problem="it does not load: signal 4"),
            FINE,
            Level.ERROR,
            "llama.cpp cannot be used: it does not load",
            "make run",
        ),
        (with_nvidia(NEW), engine(), FINE, Level.ERROR, "built without CUDA: NVIDIA A10 lies idle", 'CMAKE_ARGS="-DGGML_CUDA=on"'),
        (mac(), engine(), FINE, Level.ERROR, "built without Metal", 'CMAKE_ARGS="-DGGML_METAL=on"'),
        (with_cards(RADEON), engine(), FINE, Level.WARNING, "built without ROCm", 'CMAKE_ARGS="-DGGML_HIP=on -DGPU_TARGETS=gfx1100"'),
        (with_cards(RADEON), engine(), FINE, Level.WARNING, "built without ROCm", 'CMAKE_ARGS="-DGGML_VULKAN=on"'),
        (with_cards(ARC), engine(), FINE, Level.WARNING, "built without SYCL", 'CMAKE_ARGS="-DGGML_SYCL=on -DCMAKE_C_COMPILER=icx'),
        (with_cards(LAPTOP), engine(), FINE, Level.NOTE, "built without ROCm", "-DGGML_VULKAN=on"),
        (with_cards(INTEL_LAPTOP), engine(), FINE, Level.NOTE, "built without SYCL", "-DGGML_VULKAN=on"),
        (
            with_nvidia(NEW),
            engine("cuda", devices=(CPU,)),
            FINE,
            Level.ERROR,
            "found no device by it, although NVIDIA A10 is here",
            "nvidia-smi",
        ),
        # probes
        (failed("nvidia", container=True), engine(), FINE, Level.WARNING, "looking at nvidia failed", "docker run --gpus all"),
        (failed("nvidia", container=False), engine(), FINE, Level.WARNING, "looking at nvidia failed", "install NVIDIA's driver"),
        (failed("amd", container=True), engine(), FINE, Level.WARNING, "looking at amd failed", "--device /dev/kfd --device /dev/dri"),
        (failed("apple", container=False), engine(), FINE, Level.WARNING, "looking at apple failed", "arm64 Python"),
        # GPUs
        (
            with_nvidia(NEW, CUDA_VISIBLE_DEVICES=""),
            engine("cuda"),
            FINE,
            Level.WARNING,
            "no NVIDIA card can be used",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        (with_nvidia(), engine("cuda"), FINE, Level.NOTE, "NVIDIA's driver 550.127.05 is too old for vLLM", "install driver 580 or newer"),
        (
            with_nvidia(dataclasses.replace(NEW, cards=(*NEW.cards, dataclasses.replace(recorded.DGX_A100.cards[0], index=1)))),
            engine("cuda"),
            FINE,
            Level.NOTE,
            "CUDA numbers different cards by speed",
            "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        ),
        (
            dataclasses.replace(with_cards(RADEON), container=True),
            engine("hip"),
            dataclasses.replace(FINE, closed=("/dev/dri/renderD* (missing)",)),
            Level.WARNING,
            "not to be opened: /dev/dri/renderD* (missing)",
            "docker run --device /dev/kfd --device /dev/dri",
        ),
        (
            with_cards(RADEON),
            engine("hip"),
            dataclasses.replace(FINE, closed=("/dev/kfd",)),
            Level.WARNING,
            "not to be opened: /dev/kfd",
            "usermod -aG render,video",
        ),
        (
            with_cards(dataclasses.replace(ARC, vram=None)),
            engine("sycl"),
            FINE,
            Level.NOTE,
            "the memory of Intel GPU 8086:E20B is not known",
            "--gpu-layers",
        ),
        # CPU and memory
        (with_cpu(flags="flags\t: avx\n"), engine(), FINE, Level.WARNING, "no AVX2", "build llama.cpp on this machine"),
        (with_cpu(quota=Quota(cores=2.5, where="/pod")), engine(), FINE, Level.NOTE, "grants 2.5 of 8 cores, so 2 thread(s)", "--cpus"),
        (with_cpu(quota=Quota(cores=0.5, where="/pod")), engine(), FINE, Level.WARNING, "grants 0.5 of 8 cores", "resources.limits.cpu"),
        (
            with_cpu(limit=Limit(limit=2 << 30, free=2 << 30, where="/pod")),
            engine(),
            FINE,
            Level.NOTE,
            "limits memory to 2.1 GB of 65 GB",
            "--memory",
        ),
        (with_cpu(available=1 << 18), engine(), FINE, Level.WARNING, "only 268 MB of memory", "end other programs"),
        # surroundings
        (
            machine(),
            engine(),
            dataclasses.replace(FINE, settings="VLLAMA_THREADS is 'x': it must be a whole number"),
            Level.ERROR,
            "VLLAMA_THREADS is 'x'",
            "docs/configuration.md",
        ),
        (
            machine(),
            engine(),
            dataclasses.replace(FINE, listener="Ollama"),
            Level.ERROR,
            "Ollama listens on 127.0.0.1, port 11434",
            "vllama serve --port N",
        ),
        (
            machine(),
            engine(),
            dataclasses.replace(FINE, unwritable="/home: Permission denied"),
            Level.ERROR,
            "/home/me/.vllama cannot be written: /home: Permission denied",
            "VLLAMA_HOME=/path",
        ),
        (machine(), engine(), dataclasses.replace(FINE, disk_free=10**9), Level.WARNING, "1 GB are free in /home/me/.vllama", "vllama gc"),
    ],
)
def test_a_problem_is_told_with_what_to_do(
    here: Machine, llama: LlamaCpp, around: Surroundings, level: Level, what: str, remedy: str
) -> None:
    [problem] = diagnose(here, llama, around)
    assert problem.level is level
    assert what in problem.what
    assert remedy in problem.remedy


def test_a_gpu_that_is_left_unused_on_purpose_is_no_problem() -> None:
    assert diagnose(with_nvidia(NEW), engine(), LAYERS_ON_CPU) == ()


def test_the_worst_comes_first() -> None:
    around = dataclasses.replace(FINE, listener="Ollama", disk_free=1)
    levels = [problem.level for problem in diagnose(with_nvidia(), engine("cuda"), around)]
    assert levels == [Level.ERROR, Level.WARNING, Level.NOTE]


def test_no_sentence_ends_in_a_full_stop_or_spans_lines() -> None:
    """`doctor` prints each on a line of its own, after its level."""
    around = dataclasses.replace(FINE, settings="wrong", listener="Ollama", unwritable="no", disk_free=1, closed=("/dev/kfd",))
    found: list[Problem] = [*diagnose(with_nvidia(), engine(), around), *diagnose(with_cards(RADEON), engine(), around)]
    assert len(found) > 8
    assert all("\n" not in text and not text.endswith(".") for problem in found for text in (problem.what, problem.remedy))
