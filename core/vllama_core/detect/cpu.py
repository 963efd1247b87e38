"""Processors: which ones, how many of them this process may use, and which of their instructions llama.cpp has kernels for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vllama_core.detect import sysctl
from vllama_core.hardware import Cpu

LINUX_FLAGS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}
"""Words of ``flags`` (x86) and ``Features`` (ARM) in /proc/cpuinfo; see arch/x86/include/asm/cpufeatures.h and
https://docs.kernel.org/arch/arm64/elf_hwcaps.html"""
DARWIN_FLAGS = {
    "hw.optional.avx1_0": "AVX",
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.fma": "FMA",
    "hw.optional.f16c": "F16C",
    "hw.optional.avx512f": "AVX-512",
    "hw.optional.arm64": "NEON",
    "hw.optional.arm.FEAT_DotProd": "DOTPROD",
    "hw.optional.arm.FEAT_I8MM": "I8MM",
    "hw.optional.arm.FEAT_SME": "SME",
}
"""https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics; every arm64 has
NEON, whose own name (``hw.optional.neon``) newer systems lack."""
ARCHITECTURES = {"amd64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a control group grants: `cores` worth of time, by the limit that stands at `where`."""

    cores: float
    where: str


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor in a /proc/cpuinfo, and of what follows the last one, where ARM boards have their name."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    fields: dict[str, str] = {}
    for block in (*blocks[-1:], *blocks[:1]):
        pairs = (line.partition(":") for line in block.splitlines())
        fields |= {name.strip(): value.strip() for name, colon, value in pairs if colon}
    return fields


def within_quota(cores: int, quota: float | None) -> int:
    """Threads worth starting, at least one. Of a fraction the whole cores: a thread more than the quota is stopped in every period, and
    all wait for it."""
    return max(1, cores if quota is None else min(cores, int(quota)))


def on_linux(*, cpuinfo: str, machine: str, logical: int, cores: int, quota: Quota | None) -> Cpu:
    """The processors of a Linux machine.

    :param cpuinfo: text of /proc/cpuinfo.
    :param machine: as `platform.machine()` says.
    :param logical: logical CPUs that the affinity allows.
    :param cores: physical cores among them.
    """
    fields = parse_cpuinfo(cpuinfo)
    words = (fields.get("flags") or fields.get("Features") or "").split()
    return _cpu(
        name=fields.get("model name") or fields.get("Model") or "",
        name_from="/proc/cpuinfo",
        machine=machine,
        logical=logical,
        logical_from="sched_getaffinity",
        cores=cores,
        cores_from="two threads of one core share its vector units, so they count once (/sys/devices/system/cpu/*/topology)",
        quota=quota,
        features=_known(LINUX_FLAGS, words),
        features_from="/proc/cpuinfo",
    )


def on_darwin(values: Mapping[str, str], *, machine: str, logical: int) -> Cpu:
    """The processors of a Mac.

    :param values: of ``sysctl``, by name.
    :param logical: what `os.cpu_count()` says, for a Mac that tells nothing.
    """
    fast = sysctl.number(values, "hw.perflevel0.physicalcpu")
    cores = fast or sysctl.number(values, "hw.physicalcpu") or logical
    return _cpu(
        name=values.get("machdep.cpu.brand_string", ""),
        name_from="sysctl machdep.cpu.brand_string",
        machine=machine,
        logical=sysctl.number(values, "hw.logicalcpu") or logical,
        logical_from="sysctl hw.logicalcpu; macOS has no affinity",
        cores=cores,
        cores_from="the fast ones only, because a thread on a slow one holds up every step (sysctl hw.perflevel0.physicalcpu)"
        if fast
        else "sysctl hw.physicalcpu",
        quota=None,
        features=_known(DARWIN_FLAGS, (name for name, value in values.items() if value == "1")),
        features_from="sysctl hw.optional",
    )


def unknown(*, machine: str, logical: int) -> Cpu:
    """The processors of a machine that tells nothing but how many it has."""
    return _cpu(
        name="",
        name_from="the system does not tell",
        machine=machine,
        logical=logical,
        logical_from="os.cpu_count()",
        cores=logical,
        cores_from="the system does not tell which CPUs share a core",
        quota=None,
        features=(),
        features_from="the system does not tell",
    )


def _known(names: Mapping[str, str], words: Iterable[str]) -> tuple[str, ...]:
    """In the table's order, so that two machines can be compared."""
    here = set(words)
    return tuple(feature for word, feature in names.items() if word in here)


def _cpu(
    *,
    name: str,
    name_from: str,
    machine: str,
    logical: int,
    logical_from: str,
    cores: int,
    cores_from: str,
    quota: Quota | None,
    features: tuple[str, ...],
    features_from: str,
) -> Cpu:
    threads = within_quota(cores, quota.cores if quota else None)
    cut = f"the quota of {quota.cores:g} cores cuts {cores} to {threads}" if quota and threads < cores else "one per core"
    return Cpu(
        name=name,
        architecture=ARCHITECTURES.get(machine, machine),
        logical=logical,
        cores=cores,
        quota=quota.cores if quota else None,
        threads=threads,
        features=features,
        why={
            "name": name_from,
            "architecture": f"the system calls it {machine}",
            "logical": logical_from,
            "cores": cores_from,
            "quota": f"the control group's limit at {quota.where}" if quota else "no control group limits processor time",
            "threads": cut,
            "features": features_from,
        },
    )
