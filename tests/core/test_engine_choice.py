"""Which engine runs a model where, and why."""

from __future__ import annotations

import dataclasses

import machines
import pytest
import recorded_hardware as recorded
from machines import ARC, INTEL_LAPTOP, LAPTOP, PYTHON, RADEON, llama_cpp, mac, machine, vllm, with_cards, with_nvidia

from vllama_core import engine_choice
from vllama_core.engine_build import Build, EngineName, rebuild
from vllama_core.engine_choice import Choice, Formats
from vllama_core.errors import ConfigError
from vllama_core.hardware import Machine
from vllama_core.model_form import Form

GGUF, BOTH, SAFETENSORS = Formats(gguf=True), Formats(gguf=True, hugging_face=True), Formats(gguf=False, hugging_face=True)
NEW = dataclasses.replace(recorded.A10, driver="580.95.05", cuda=13000)
"""The card with a driver that vLLM can use."""


def choose(
    here: Machine, *builds: Build, formats: Formats = GGUF, asked: EngineName | None = None, gpu_layers: int = -1
) -> Choice:  # fmt: skip
    return engine_choice.choose(formats, here, builds, asked=asked, gpu_layers=gpu_layers, python=PYTHON)


# -- the table of the module's docstring --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "builds", "formats", "engine", "backend", "gpus"),
    [
        (machine(), [llama_cpp()], GGUF, "llama.cpp", "cpu", 0),
        (machine(), [llama_cpp("cuda"), vllm()], BOTH, "llama.cpp", "cpu", 0),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm()], BOTH, "vllm", "cuda", 1),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm()], SAFETENSORS, "vllm", "cuda", 1),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm()], GGUF, "llama.cpp", "cuda", 1),
        (with_nvidia(NEW), [llama_cpp("cuda")], BOTH, "llama.cpp", "cuda", 1),
        (with_nvidia(NEW), [llama_cpp("vulkan")], GGUF, "llama.cpp", "vulkan", 1),
        (with_nvidia(NEW), [llama_cpp("vulkan", "cuda")], GGUF, "llama.cpp", "cuda", 1),
        (with_nvidia(NEW), [llama_cpp()], GGUF, "llama.cpp", "cuda", 1),
        (with_nvidia(recorded.DGX_A100), [llama_cpp("cuda")], GGUF, "llama.cpp", "cuda", 8),
        (mac(), [llama_cpp("metal")], GGUF, "llama.cpp", "metal", 1),
        (mac(), [llama_cpp()], GGUF, "llama.cpp", "metal", 1),
        (with_cards(RADEON), [llama_cpp("hip")], GGUF, "llama.cpp", "hip", 1),
        (with_cards(RADEON), [llama_cpp("vulkan", "hip")], GGUF, "llama.cpp", "hip", 1),
        (with_cards(RADEON), [llama_cpp("vulkan")], GGUF, "llama.cpp", "vulkan", 1),
        (with_cards(RADEON), [llama_cpp("cuda")], GGUF, "llama.cpp", "cpu", 0),
        (with_cards(ARC), [llama_cpp("sycl")], GGUF, "llama.cpp", "sycl", 1),
        (with_cards(LAPTOP), [llama_cpp()], GGUF, "llama.cpp", "cpu", 0),
        (with_cards(LAPTOP), [llama_cpp("vulkan")], GGUF, "llama.cpp", "vulkan", 1),
        (with_cards(INTEL_LAPTOP, RADEON), [llama_cpp("vulkan")], GGUF, "llama.cpp", "vulkan", 1),
    ],
)
def test_the_engine_suits_model_and_machine(
    here: Machine, builds: list[Build], formats: Formats, engine: str, backend: str, gpus: int
) -> None:
    choice = choose(here, *builds, formats=formats)
    assert (choice.engine, choice.backend, len(choice.accelerators)) == (engine, backend, gpus)


def test_a_card_beats_the_processors_graphics_of_another_maker() -> None:
    assert [gpu.name for gpu in choose(with_cards(LAPTOP, ARC), llama_cpp("vulkan")).accelerators] == ["Intel GPU 8086:E20B"]


# -- reasons and warnings -----------------------------------------------------------------------------------------------------------------


def test_the_reason_names_the_cards() -> None:
    assert choose(with_nvidia(recorded.DGX_A100), llama_cpp("cuda")).reason == "8 × NVIDIA A100-SXM4-40GB, by CUDA"
    assert choose(with_nvidia(), llama_cpp("cuda")).reason == "NVIDIA A10, by CUDA"
    assert "8 threads" in choose(machine(), llama_cpp()).reason


def test_different_cards_are_counted() -> None:
    mixed = dataclasses.replace(recorded.A10, cards=(*recorded.A10.cards, dataclasses.replace(recorded.DGX_A100.cards[0], index=1)))
    assert choose(with_nvidia(mixed), llama_cpp("cuda")).reason == "NVIDIA A10 and 1 more, by CUDA"


def test_gguf_on_nvidia_comes_with_a_note() -> None:
    [note] = choose(with_nvidia(NEW), llama_cpp("cuda"), vllm(), formats=GGUF).warnings
    assert "GGUF only" in note


def test_a_missing_vllm_is_a_warning_with_the_one_command() -> None:
    choice = choose(with_nvidia(NEW), llama_cpp("cuda"), vllm(None), formats=BOTH)
    assert choice.engine is EngineName.LLAMA_CPP
    assert choice.warnings == ("vLLM would be faster under load on NVIDIA A10; run: vllama engines install vllm",)


def test_an_engine_that_this_version_cannot_run_is_not_spoken_of() -> None:
    assert choose(with_nvidia(NEW), llama_cpp("cuda"), formats=BOTH).warnings == ()


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (with_nvidia(recorded.A10), "driver 550.127.05 is too old for vLLM: it runs CUDA 12.4, vLLM needs 13; install driver 580 or newer"),
        (
            with_nvidia(dataclasses.replace(NEW, cards=(dataclasses.replace(NEW.cards[0], name="Tesla V100", capability=(7, 0)),))),
            "vLLM cannot use Tesla V100: its compute capability is 7.0, vLLM needs 7.5",
        ),
        (dataclasses.replace(with_nvidia(NEW), system="Windows"), "vLLM runs on Linux only, this is Windows"),
    ],
)
def test_what_keeps_vllm_from_running_is_said_and_llama_cpp_runs(here: Machine, words: str) -> None:
    choice = choose(here, llama_cpp("cuda"), vllm(), formats=BOTH)
    assert (choice.engine, choice.backend) == (EngineName.LLAMA_CPP, "cuda")
    assert words in choice.warnings[0]


@pytest.mark.parametrize(
    ("here", "flags"),
    [
        (with_nvidia(), 'CMAKE_ARGS="-DGGML_CUDA=on"'),
        (mac(), 'CMAKE_ARGS="-DGGML_METAL=on"'),
        (with_cards(RADEON), 'CMAKE_ARGS="-DGGML_VULKAN=on"'),
        (with_cards(ARC), 'CMAKE_ARGS="-DGGML_VULKAN=on"'),
    ],
)
def test_a_build_without_the_gpus_backend_is_a_warning_with_the_command(here: Machine, flags: str) -> None:
    [warning] = choose(here, llama_cpp()).warnings
    assert f"{flags} {PYTHON} -m pip install --force-reinstall" in warning
    assert warning.endswith("llama-cpp-python==0.3.36")


def test_nobody_is_told_to_build_anew_for_a_laptops_graphics() -> None:
    assert choose(with_cards(LAPTOP), llama_cpp()).warnings == ()
    assert choose(with_cards(INTEL_LAPTOP), llama_cpp()).warnings == ()


def test_rocm_is_built_for_the_card_alone() -> None:
    """For all cards it takes an hour."""
    line = rebuild("hip", version="0.3.36", python="python", target="gfx1100")
    assert line.startswith('CMAKE_ARGS="-DGGML_HIP=on -DGPU_TARGETS=gfx1100" python -m pip')


# -- what people ask for ------------------------------------------------------------------------------------------------------------------


def test_zero_layers_mean_the_cpu() -> None:
    choice = choose(with_nvidia(NEW), llama_cpp("cuda"), vllm(), formats=BOTH, gpu_layers=0)
    assert (choice.engine, choice.backend, choice.accelerators, choice.warnings) == (EngineName.LLAMA_CPP, "cpu", (), ())
    assert choice.reason == "--gpu-layers 0 leaves NVIDIA A10 unused"


def test_the_flag_overrides_the_machine() -> None:
    choice = choose(with_nvidia(NEW), llama_cpp("cuda"), vllm(), formats=BOTH, asked=EngineName.LLAMA_CPP)
    assert (choice.engine, choice.backend) == (EngineName.LLAMA_CPP, "cuda")
    assert choice.reason.startswith("it was asked for; ")
    assert choose(machine(), llama_cpp(), vllm(), formats=BOTH, asked=EngineName.VLLM).engine is EngineName.VLLM


@pytest.mark.parametrize(
    ("builds", "formats", "asked", "words"),
    [
        ([llama_cpp()], GGUF, EngineName.VLLM, "the engine vllm was asked for, which this version of vllama lacks; it has llama.cpp"),
        ([llama_cpp()], GGUF, EngineName.MLX, "the engine mlx was asked for, which this version of vllama lacks"),
        (
            [llama_cpp(), vllm(None)],
            BOTH,
            EngineName.VLLM,
            "the vllm engine is not installed for this Python; run: vllama engines install vllm",
        ),
        ([llama_cpp(), vllm()], GGUF, EngineName.VLLM, "which needs Hugging Face files, but this model is here as GGUF only"),
        (
            [llama_cpp()],
            SAFETENSORS,
            EngineName.LLAMA_CPP,
            "in Hugging Face's form only, and llama.cpp needs a GGUF file: `vllama pull NAME`",
        ),
        ([llama_cpp()], SAFETENSORS, None, "no engine here runs this model: it is here in Hugging Face's form only"),
        ([llama_cpp(), vllm(None)], SAFETENSORS, None, "makes one of a folder; vLLM would be faster under load"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_way_out(
    builds: list[Build], formats: Formats, asked: EngineName | None, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(with_nvidia(NEW), *builds, formats=formats, asked=asked)
    assert words in str(caught.value)


def test_without_llama_cpp_nothing_is_chosen() -> None:
    missing = dataclasses.replace(machines.llama_cpp(), version=None)
    with pytest.raises(ConfigError, match=r"the llama\.cpp engine is not installed for this Python; run: make run"):
        choose(machine(), missing)


@pytest.mark.parametrize(
    ("here", "builds", "asked", "form"),
    [
        (machine(), [llama_cpp()], None, Form.GGUF),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm()], None, Form.HUGGING_FACE),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm(None)], None, Form.GGUF),
        (with_nvidia(NEW), [llama_cpp("cuda"), vllm()], EngineName.LLAMA_CPP, Form.GGUF),
        (mac(), [llama_cpp("metal")], EngineName.MLX, Form.HUGGING_FACE),
        (machine(), [], None, Form.GGUF),
    ],
)
def test_what_is_fetched_is_what_the_engine_will_load(here: Machine, builds: list[Build], asked: EngineName | None, form: Form) -> None:
    assert engine_choice.preferred_form(here, builds, asked=asked) is form
