"""Build the pinned llama-cpp-python wheel once and keep it.

llama-cpp-python is published as source only, and compiling it takes minutes. This script builds the wheel the first time, keeps it
under ``~/.cache/vllama-dev/wheels`` keyed by version, compiler flags and CPU, and prints its path on standard output (progress goes
to standard error). Standard library only: it runs before anything is installed.

    python tools/llama_wheel.py native      # tuned to this machine: `make run`, `make bench`
    python tools/llama_wheel.py portable    # x86-64-v3, or arm64 with dot products: tests, images
    python tools/llama_wheel.py prefer-native   # the native one if it is already there, else the portable one
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("VLLAMA_DEV_CACHE", "~/.cache/vllama-dev")).expanduser()
PORTABLE_X86_64_V3 = "-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
PORTABLE_ARM64 = "-DGGML_NATIVE=OFF -DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod"
"""Without dot products quantized models run at half the speed. `vllama_agent/container.py` refuses a CPU that lacks what is meant here."""
METAL = "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON"
"""Apple Silicon. The shaders lie in the library itself: found wherever the wheel is unpacked, and compiled without Xcode at run time."""
NINJA_STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")


def pinned_version() -> str:
    """The exact version that pyproject.toml's `llama` extra names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["optional-dependencies"]["llama"]:
        name, _, version = requirement.partition("==")
        if name == "llama-cpp-python":
            return version.strip()
    raise SystemExit("pyproject.toml: the extra 'llama' does not pin llama-cpp-python with ==")


def cmake_flags(kind: str) -> str:
    """Flags of the build; CMAKE_ARGS from the environment (a GPU backend, say) come last, so they win."""
    flags = flags_for(kind, system=sys.platform, machine=platform.machine())
    return f"{flags} {os.environ.get('CMAKE_ARGS', '')}".strip()


def flags_for(kind: str, *, system: str, machine: str) -> str:
    """Flags for a kind of wheel.

    :param system: as `sys.platform` says.
    :param machine: as `platform.machine()` says.
    """
    cpu = "-DGGML_NATIVE=ON" if kind == "native" else "-DGGML_NATIVE=OFF"
    if system == "darwin":
        # on an Intel Mac llama.cpp would choose Metal too, but its kernels are made for Apple's own GPUs
        return f"{cpu} {METAL}" if machine == "arm64" else f"{cpu} -DGGML_METAL=OFF"
    if kind == "native":
        return cpu
    return {"x86_64": PORTABLE_X86_64_V3, "aarch64": PORTABLE_ARM64}.get(machine, cpu)


def cpu_identity() -> str:
    """What -march=native depends on: the machine's instruction sets, not its clock or its name in a cloud."""
    try:
        cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:
        brand = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return brand.stdout.strip() or platform.processor()
    lines = {line for line in cpuinfo.splitlines() if line.startswith(("model\t", "cpu family", "flags", "Features", "CPU part"))}
    return "\n".join(sorted(lines))


def folder_of(kind: str) -> pathlib.Path:
    """The cache folder of one wheel; everything that goes into the binary is part of its name."""
    target = cpu_identity() if kind == "native" else "portable"
    platform_key = f"{sys.platform}-{platform.machine()}-{platform.libc_ver()[1]}"
    key = hashlib.sha256("\n".join([cmake_flags(kind), target, platform_key]).encode()).hexdigest()[:12]
    return CACHE / "wheels" / f"llama_cpp_python-{pinned_version()}-{kind}-{key}"


def cached_wheel(kind: str) -> pathlib.Path | None:
    return next(folder_of(kind).glob("*.whl"), None)


def build(kind: str) -> pathlib.Path:
    """Compile the wheel; two builds at once wait for each other instead of compiling twice."""
    folder = folder_of(kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if wheel := cached_wheel(kind):
            return wheel
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _pip_wheel(kind, pathlib.Path(scratch) / "out")
            os.replace(pathlib.Path(scratch) / "out", folder)
    wheel = cached_wheel(kind)
    assert wheel is not None
    return wheel


def _pip_wheel(kind: str, out: pathlib.Path) -> None:
    requirement = f"llama-cpp-python=={pinned_version()}"
    flags = cmake_flags(kind)
    environment = os.environ | {
        "CMAKE_ARGS": flags,
        "CMAKE_BUILD_PARALLEL_LEVEL": os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 2)),
    }
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
    command += ["--config-settings=cmake.verbose=false", "-w", str(out), requirement]
    print(f"building {requirement} ({kind}: {flags}); this takes minutes, once", file=sys.stderr)
    log_path = CACHE / "wheels" / f"build-{kind}.log"
    with (
        open(log_path, "w") as log,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            _show_progress(line)
    print(file=sys.stderr)
    if process.returncode != 0:
        tail = "".join(log_path.read_text().splitlines(keepends=True)[-25:])
        raise SystemExit(f"{tail}\nthe build of {requirement} failed; the whole log is in {log_path}")


def _show_progress(line: str) -> None:
    step = NINJA_STEP.match(line)
    if step is None:
        return
    done, total = int(step[1]), int(step[2])
    if sys.stderr.isatty():
        print(f"\r  compiled {done} of {total}", end="", file=sys.stderr, flush=True)
    elif done % 50 == 0 or done == total:
        print(f"  compiled {done} of {total}", file=sys.stderr, flush=True)


def main(kind: str) -> None:
    if kind == "prefer-native":
        kind = "native" if cached_wheel("native") else "portable"
    if kind not in ("native", "portable"):
        raise SystemExit(f"unknown kind {kind!r}: say native, portable or prefer-native")
    if shutil.which("c++") is None and shutil.which("g++") is None and cached_wheel(kind) is None:
        raise SystemExit("no C++ compiler found; install one (Debian: apt-get install g++, macOS: xcode-select --install)")
    print(cached_wheel(kind) or build(kind))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "native")
