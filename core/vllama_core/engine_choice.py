"""Which engine runs a model on this machine, and why. Pure.

NVIDIA → vLLM, or llama.cpp with CUDA for models that exist as GGUF only · Apple Silicon → llama.cpp with Metal · AMD and Intel →
llama.cpp with the backend it was built for · else llama.cpp on the CPU. Only engines that this version of vllama can run take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vllama_core.engine_build import BACKENDS, FORMS, Build, EngineName, backends_for, rebuild
from vllama_core.errors import ConfigError
from vllama_core.hardware import Accelerator, Machine, Vendor
from vllama_core.model_form import Form

ORDER = (Vendor.NVIDIA, Vendor.APPLE, Vendor.AMD, Vendor.INTEL)
"""Of several makers' GPUs in one machine the first is used; a processor's own graphics never beats a card."""
OWN = {Vendor.NVIDIA: "cuda", Vendor.APPLE: "metal"}
"""Makers whose owners bought the GPU for this: work that does not reach it is an error, whatever llama.cpp was built for."""
IN_HF_FORM = (
    "in Hugging Face's form only, and llama.cpp needs a GGUF file: `vllama pull NAME` without --format hf fetches one, or makes one of the "
    "same files; `vllama create` makes one of a folder"
)
VLLM_CAPABILITY = (7, 5)
"""https://docs.vllm.ai/en/latest/getting_started/installation/gpu/#requirements"""
VLLM_CUDA = (13, 0)
"""What the wheels of torch 2.13 are made for, which vLLM 0.32 pins. A driver runs every minor version of its CUDA's major version, and
older ones: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """In which forms a model can be had."""

    gguf: bool
    hugging_face: bool = False

    @classmethod
    def only(cls, form: Form) -> Formats:
        """Of a model that is here in this form."""
        return cls(gguf=form is Form.GGUF, hugging_face=form is Form.HUGGING_FACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine, and what it is to run on.

    :ivar accelerators: the GPUs that it has to use; empty: the CPU is meant.
    :ivar backend: of llama.cpp, such as ``cuda``; ``cpu``; of other engines their own.
    :ivar reason: a sentence's end, after "because".
    :ivar warnings: sentences on what would be better, each with its way out.
    """

    engine: EngineName
    backend: str
    accelerators: tuple[Accelerator, ...]
    reason: str
    warnings: tuple[str, ...] = ()


def choose(
    formats: Formats, machine: Machine, builds: Sequence[Build], *, asked: EngineName | None = None, gpu_layers: int = -1, python: str
) -> Choice:
    """The engine for a model.

    :param builds: the engines of this version of vllama, installed or not.
    :param asked: what `--engine` or the model's entry says; None: automatic.
    :param gpu_layers: what `--gpu-layers` says; 0 = the CPU is meant.
    :param python: the interpreter that has llama.cpp, for the command that builds it anew.
    :raises ConfigError: what was asked for is not here, or cannot run this model.
    """
    if asked is not None:
        build = require(asked, builds)
        _check_form(asked, formats)
        if asked is not EngineName.LLAMA_CPP:
            return Choice(engine=asked, backend=asked.value, accelerators=_gpus(machine), reason="it was asked for")
        return _llama_cpp(machine, build, gpu_layers=gpu_layers, python=python, because="it was asked for")
    vllm = next((build for build in builds if build.engine is EngineName.VLLM), None)
    nvidia = machine.of(Vendor.NVIDIA)
    hindrance = None
    if nvidia and vllm is not None and gpu_layers != 0:
        hindrance = _why_not_vllm(formats, machine, vllm)
        if hindrance is None:
            return Choice(
                engine=EngineName.VLLM, backend="cuda", accelerators=nvidia, reason=f"{_names(nvidia)}: vLLM is the fastest there"
            )
    if not formats.gguf:
        raise ConfigError(f"no engine here runs this model: it is here {IN_HF_FORM}" + (f"; {hindrance}" if hindrance else ""))
    choice = _llama_cpp(machine, require(EngineName.LLAMA_CPP, builds), gpu_layers=gpu_layers, python=python)
    return replace(choice, warnings=(hindrance, *choice.warnings)) if hindrance else choice


def preferred_form(machine: Machine, builds: Sequence[Build], *, asked: EngineName | None = None, gpu_layers: int = -1) -> Form:
    """The form that the engine loads which would run a model that is to be had in both; where no engine is here yet, llama.cpp's."""
    if asked is not None:
        return FORMS[asked]
    try:
        return FORMS[choose(Formats(gguf=True, hugging_face=True), machine, builds, gpu_layers=gpu_layers, python="").engine]
    except ConfigError:
        return Form.GGUF


def require(engine: EngineName, builds: Sequence[Build]) -> Build:
    """An engine's build.

    :raises ConfigError: this version of vllama has no such engine, or it is not installed.
    """
    build = next((build for build in builds if build.engine is engine), None)
    if build is None:
        known = ", ".join(build.engine for build in builds)
        raise ConfigError(f"the engine {engine} was asked for, which this version of vllama lacks; it has {known}, or choose none")
    if build.version is None:
        raise ConfigError(f"the {engine} engine is not installed for this Python; {build.install}")
    return build


def any_of(builds: Sequence[Build]) -> EngineName:
    """An engine that is installed; llama.cpp if none is, as the one that is easily had."""
    return next((build.engine for build in builds if build.version is not None), EngineName.LLAMA_CPP)


def why_not_vllm(machine: Machine) -> str | None:
    """What on an NVIDIA machine keeps vLLM from running at all, with the way out; None: nothing."""
    for gpu in machine.of(Vendor.NVIDIA):
        if gpu.compute_capability is not None and gpu.compute_capability < VLLM_CAPABILITY:
            have, need = _dotted(gpu.compute_capability), _dotted(VLLM_CAPABILITY)
            return f"vLLM cannot use {gpu.name}: its compute capability is {have}, vLLM needs {need} (2018 and newer); llama.cpp can use it"
        if gpu.cuda is not None and gpu.cuda[0] < VLLM_CUDA[0]:
            return (
                f"NVIDIA's driver {gpu.driver} is too old for vLLM: it runs CUDA {_dotted(gpu.cuda)}, vLLM needs {VLLM_CUDA[0]}; "
                "install driver 580 or newer"
            )
    if machine.of(Vendor.NVIDIA) and machine.system != "Linux":
        return f"vLLM runs on Linux only, this is {machine.system}; llama.cpp runs here"
    return None


def _why_not_vllm(formats: Formats, machine: Machine, vllm: Build) -> str | None:
    if not formats.hugging_face:
        return "the model is here as GGUF only, which vLLM runs badly; its Hugging Face files would run on vLLM, and faster under load"
    hindrance = why_not_vllm(machine)
    if hindrance is None and vllm.version is None:
        return f"vLLM would be faster under load on {_names(machine.of(Vendor.NVIDIA))}; {vllm.install}"
    return hindrance


def _check_form(asked: EngineName, formats: Formats) -> None:
    if asked is EngineName.LLAMA_CPP and not formats.gguf:
        raise ConfigError(f"llama.cpp was asked for, but this model is here {IN_HF_FORM}")
    if asked is not EngineName.LLAMA_CPP and not formats.hugging_face:
        raise ConfigError(
            f"{asked} was asked for, which needs Hugging Face files, but this model is here as GGUF only; pull it with --format hf"
        )


def _llama_cpp(machine: Machine, build: Build, *, gpu_layers: int, python: str, because: str | None = None) -> Choice:
    def choice(backend: str, gpus: tuple[Accelerator, ...], reason: str, *warnings: str) -> Choice:
        said = f"{because}; {reason}" if because else reason
        return Choice(engine=EngineName.LLAMA_CPP, backend=backend, accelerators=gpus, reason=said, warnings=warnings)

    gpus = _gpus(machine)
    if not gpus:
        return choice("cpu", (), f"no GPU was found that it could use, so it runs on {machine.cpu.threads} threads of the CPU")
    if gpu_layers == 0:
        return choice("cpu", (), f"--gpu-layers 0 leaves {_names(gpus)} unused")
    vendor = gpus[0].vendor
    backend = next((name for name in backends_for(vendor) if name in build.backends), None)
    if backend is not None:
        return choice(backend, gpus, f"{_names(gpus)}, by {BACKENDS[backend].title}")
    best = backends_for(vendor)[0] if vendor in OWN else "vulkan"
    way_out = rebuild(best, version=build.version or "", python=python, target=gpus[0].architecture)
    lacks = f"llama.cpp is built without {BACKENDS[best].title}, so {_names(gpus)} lies idle; build it anew: {way_out}"
    if vendor in OWN:
        return choice(best, gpus, f"{_names(gpus)} is here", lacks)
    return choice("cpu", (), f"llama.cpp is built without a backend for {_names(gpus)}, so it runs on the CPU", *_worth_it(gpus, lacks))


def _worth_it(gpus: tuple[Accelerator, ...], warning: str) -> tuple[str, ...]:
    """Nearly every laptop has graphics in its processor, on which models run no faster than on its cores: no word about those."""
    return () if all(gpu.unified for gpu in gpus) else (warning,)


def _gpus(machine: Machine) -> tuple[Accelerator, ...]:
    """Those of the first maker that has a card, or, without any card, of the first that has anything."""
    groups = [machine.of(vendor) for vendor in ORDER if machine.of(vendor)]
    cards = [group for group in groups if group[0].vendor in OWN or not all(gpu.unified for gpu in group)]
    return (cards or groups or [()])[0]


def _names(gpus: Sequence[Accelerator]) -> str:
    """``2 × NVIDIA A10``; of different ones ``NVIDIA A10 and 1 more``."""
    if len(gpus) == 1:
        return gpus[0].name
    same = len({gpu.name for gpu in gpus}) == 1
    return f"{len(gpus)} × {gpus[0].name}" if same else f"{gpus[0].name} and {len(gpus) - 1} more"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
