"""The image's entry point: refuse a CPU that the image's llama.cpp was not compiled for, then be `vllama`.

Without it such a CPU ends a worker by SIGILL at the first matrix product, and nobody is told why. So this runs before anything that was
compiled is imported. What a wheel needs stands in `tools/llama_wheel.py`, and a test holds both together.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
NEEDED = {
    # what -DGGML_AVX2=ON and its like let the compiler use; all of x86-64-v3 that is used
    "x86_64": ("sse4_2", "avx", "avx2", "fma", "f16c", "bmi2"),
    # -DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod; the kernel's names: https://docs.kernel.org/arch/arm64/elf_hwcaps.html
    "aarch64": ("atomics", "asimddp"),
}
LEVEL = {"x86_64": "x86-64-v3 (AVX2; Intel from 2013, AMD from 2015)", "aarch64": "ARMv8.2 with dot products (most 64-bit ARM from 2018)"}
TOO_OLD = 1


def missing(machine: str, cpuinfo: str) -> tuple[str, ...]:
    """The features that this CPU lacks, in the kernel's words.

    :param machine: as `platform.machine()` says.
    :param cpuinfo: text of ``/proc/cpuinfo``. Where it lists no features (some emulators), none counts as missing.
    """
    features = set()
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            features.update(value.split())
    return tuple(feature for feature in NEEDED.get(machine, ()) if features and feature not in features)


def refusal(machine: str, lacking: tuple[str, ...]) -> str:
    """What the person is told."""
    return (
        f"vllama: this image needs a CPU with {LEVEL[machine]}; this one lacks {', '.join(lacking)}. "
        "On this machine, run vllama from its source: `make run` compiles llama.cpp for the CPU that it finds."
    )


def main(arguments: list[str], *, machine: str | None = None, cpuinfo: Path = CPUINFO) -> int:
    """Check, then run the command line in this very process: signals reach it, whatever its process id.

    :returns: the exit status.
    """
    machine = machine or platform.machine()
    lacking = missing(machine, cpuinfo.read_text())
    if lacking:
        print(refusal(machine, lacking), file=sys.stderr)
        return TOO_OLD
    from vllama_agent import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
