"""The engine's own report against the choice: what runs on the CPU unasked is found."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest
import recorded_hardware as recorded
from machines import PYTHON, llama_cpp, mac, machine, with_nvidia

from vllama_core import engine_choice, placement
from vllama_core.engine_choice import Choice, Formats
from vllama_core.hardware import Machine
from vllama_core.placement import Device, DeviceKind, Report

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import llama_sdist

CPU = Device(name="CPU", description="AMD EPYC", kind=DeviceKind.CPU, total=1 << 34, free=1 << 34)
CUDA = Device(name="CUDA0", description="Tesla V100-PCIE-16GB", kind=DeviceKind.GPU, total=16 << 30, free=15841 << 20)
LINES = recorded.V100_LOG.splitlines()


def chosen(here: Machine, *backends: str, gpu_layers: int = -1) -> Choice:
    return engine_choice.choose(Formats(gguf=True), here, [llama_cpp(*backends)], gpu_layers=gpu_layers, python=PYTHON)


def report(offloaded: int | None, layers: int | None, *devices: Device) -> Report:
    return Report(devices=(CPU, *devices), offloaded=offloaded, layers=layers, gpu_bytes=0)


def test_a_report_is_read_from_what_llama_cpp_logs() -> None:
    found = placement.report_of((CPU, CUDA), LINES)
    assert (found.offloaded, found.layers) == (13, 13)
    assert found.gpu_bytes == pytest.approx((40.73 + 9 + 16) * (1 << 20), abs=1)


def test_the_machines_memory_is_not_counted_for_a_gpu() -> None:
    """CUDA_Host is memory of the machine that the card can reach; CUDA01 would be another device."""
    lines = [
        "x: CUDA_Host compute buffer size = 5.00 MiB",
        "x: CUDA01 model buffer size = 7.00 MiB",
        "x: CUDA0_Split model buffer size = 1.00 MiB",
    ]
    assert placement.report_of((CPU, CUDA), lines).gpu_bytes == 1 << 20


def test_without_a_gpu_nothing_is_offloaded() -> None:
    assert placement.report_of((CPU,), ["load_tensors:   CPU_Mapped model buffer size =    23.11 MiB"]) == report(None, None)


def test_only_lines_about_the_place_are_kept() -> None:
    kept = [line for line in LINES if placement.is_about_place(line)]
    assert len(kept) == 7
    assert all("buffer size" in line or "offloaded" in line for line in kept)


def test_a_report_survives_the_wire() -> None:
    found = placement.report_of((CPU, CUDA), LINES)
    assert placement.from_fields(dataclasses.asdict(found)) == found


@pytest.mark.parametrize(
    ("choice", "said", "gpu_layers"),
    [
        (chosen(machine()), report(None, None), -1),
        (chosen(with_nvidia(), "cuda"), report(29, 29, CUDA), -1),
        (chosen(with_nvidia(), "cuda"), report(12, 29, CUDA), 12),
        (chosen(with_nvidia(), "cuda"), report(29, 29, CUDA), 99),
        (chosen(with_nvidia(), "cuda", gpu_layers=0), report(0, 29, CUDA), 0),
    ],
)
def test_what_lies_where_it_belongs_is_no_problem(choice: Choice, said: Report, gpu_layers: int) -> None:
    assert placement.mismatch(choice, said, gpu_layers=gpu_layers) is None


@pytest.mark.parametrize(
    ("choice", "said", "gpu_layers", "words"),
    [
        (
            chosen(with_nvidia()),
            report(None, None),
            -1,
            "runs on the CPU although NVIDIA A10 is here: llama.cpp is built without CUDA, so NVIDIA A10 lies idle; build it anew: CMAKE",
        ),
        (chosen(with_nvidia()), report(None, None), -1, "If the CPU is meant, say --gpu-layers 0"),
        (chosen(mac()), report(None, None), -1, "llama.cpp is built without Metal"),
        (
            chosen(with_nvidia(), "cuda"),
            report(None, None),
            -1,
            "llama.cpp has CUDA, but found no GPU by it; `vllama doctor` looks for the reason",
        ),
        (
            chosen(with_nvidia(), "cuda"),
            report(12, 29, CUDA),
            -1,
            "has 12 of 29 layers on NVIDIA A10, 29 were planned: the rest runs on the CPU",
        ),
        (chosen(with_nvidia(), "cuda"), report(0, 29, CUDA), 10, "has 0 of 29 layers on NVIDIA A10, 10 were planned"),
        (chosen(with_nvidia(), "cuda"), report(None, None, CUDA), -1, "does not say how much of it is on NVIDIA A10"),
    ],
)
def test_what_runs_on_the_cpu_unasked_is_told_with_the_way_out(choice: Choice, said: Report, gpu_layers: int, words: str) -> None:
    assert words in (placement.mismatch(choice, said, gpu_layers=gpu_layers) or "")


FORMATS = {
    "llama-model.cpp": ('"%s: offloaded %d/%d layers to GPU\\n"', '"%s: %12s model buffer size = %8.2f MiB\\n"'),
    "llama-context.cpp": ('"%s: %10s  output buffer size = %8.2f MiB\\n"', '"%s: %10s compute buffer size = %8.2f MiB\\n"'),
    "llama-kv-cache.cpp": ('"%s: %10s KV buffer size = %8.2f MiB\\n"',),
    "llama-memory-recurrent.cpp": ('"%s: %10s RS buffer size = %8.2f MiB\\n"',),
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in FORMATS.items() for text in texts])
def test_the_pinned_version_still_writes_these_lines(file: str, text: str) -> None:
    """The report hangs on its words; a version that writes others must not count as one that put nothing on the GPU."""
    assert text in (llama_sdist.llama_cpp() / "src" / file).read_text()
    values = ("load_tensors", 3, 4) if "%d" in text else ("load_tensors", "CUDA0", 1.0)
    assert placement.is_about_place(text.strip('"').replace("\\n", "") % values)


def test_the_pinned_version_still_has_these_kinds_of_devices() -> None:
    header = (llama_sdist.llama_cpp() / "ggml" / "include" / "ggml-backend.h").read_text()
    kinds = re.findall(
        r"^ +GGML_BACKEND_DEVICE_TYPE_(\w+),", header.partition("enum ggml_backend_dev_type {")[2].partition("}")[0], re.MULTILINE
    )
    assert [kind.lower() for kind in kinds] == list(DeviceKind)
