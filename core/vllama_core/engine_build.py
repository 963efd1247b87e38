"""The engines that this version of vllama can run, as they are installed here, and how llama.cpp is built for a GPU. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vllama_core.hardware import Vendor
from vllama_core.model_form import Form


class EngineName(StrEnum):
    """The engines by name, as `--engine` takes them."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    MLX = "mlx"


FORMS = {EngineName.LLAMA_CPP: Form.GGUF, EngineName.VLLM: Form.HUGGING_FACE, EngineName.MLX: Form.HUGGING_FACE}
"""One reference, per engine one artifact: the form that each engine loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An engine that this version of vllama can run.

    :ivar version: None: it is not installed.
    :ivar backends: of llama.cpp, what it was built for beside the CPU: `BACKENDS`' names.
    :ivar install: the one command that installs it.
    """

    engine: EngineName
    version: str | None
    install: str
    backends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A GPU backend of llama.cpp.

    :ivar title: what people call it.
    :ivar vendors: whose GPUs it runs on.
    :ivar flags: for CMake.
    """

    title: str
    vendors: tuple[Vendor, ...]
    flags: str


BACKENDS = {
    "cuda": Backend(title="CUDA", vendors=(Vendor.NVIDIA,), flags="-DGGML_CUDA=on"),
    "metal": Backend(title="Metal", vendors=(Vendor.APPLE,), flags="-DGGML_METAL=on"),
    "hip": Backend(title="ROCm", vendors=(Vendor.AMD,), flags="-DGGML_HIP=on"),
    "sycl": Backend(
        title="SYCL", vendors=(Vendor.INTEL,), flags="-DGGML_SYCL=on -DCMAKE_C_COMPILER=icx -DCMAKE_CXX_COMPILER=icpx"
    ),
    "vulkan": Backend(title="Vulkan", vendors=(Vendor.NVIDIA, Vendor.AMD, Vendor.INTEL), flags="-DGGML_VULKAN=on"),
}  # fmt: skip
"""By the name in ``libggml-<name>``; the maker's own before Vulkan, which is slower on most cards but needs no more than the graphics
driver. Flags: llama-cpp-python's README, and docs/build.md of llama.cpp."""
PACKAGE = "llama-cpp-python"


def backends_for(vendor: Vendor) -> tuple[str, ...]:
    """The names of those that run on a maker's GPUs, best first."""
    return tuple(name for name, backend in BACKENDS.items() if vendor in backend.vendors)


def rebuild(backend: str, *, version: str, python: str, target: str | None = None) -> str:
    """The command line that builds llama.cpp for a backend, in a shell.

    :param version: of llama-cpp-python.
    :param python: the interpreter that has it.
    :param target: an AMD card's instruction set, such as ``gfx1100``: without it ROCm builds for all that it knows, for an hour.
    """
    targets = f" -DGPU_TARGETS={target}" if backend == "hip" and target else ""
    flags = f'CMAKE_ARGS="{BACKENDS[backend].flags}{targets}"'
    return f"{flags} {python} -m pip install --force-reinstall --no-deps --no-cache-dir --no-binary {PACKAGE} {PACKAGE}=={version}"
