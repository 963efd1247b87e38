"""Processors and memory, from what real machines say of themselves."""

from __future__ import annotations

import dataclasses

import pytest
import recorded_hardware as recorded

from vllama_core.detect import cpu, memory, sysctl
from vllama_core.detect.cpu import Quota
from vllama_core.detect.memory import Limit
from vllama_core.hardware import Cpu, Memory

MEMINFO = "MemTotal:       24684084 kB\nMemFree:         5090268 kB\nMemAvailable:   22985640 kB\nHugePages_Total:       0\n"


def on_linux(text: str, *, machine: str = "x86_64", cores: int = 8, quota: Quota | None = None) -> Cpu:
    return cpu.on_linux(cpuinfo=text, machine=machine, logical=2 * cores, cores=cores, quota=quota)


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (recorded.RASPBERRY_PI_5, "Raspberry Pi 5 Model B Rev 1.0", ("NEON", "DOTPROD")),
        (recorded.XEON_E5_2640_V2, "Intel(R) Xeon(R) CPU E5-2640 v2 @ 2.00GHz", ("AVX", "F16C")),
        (
            recorded.XEON_SAPPHIRE_RAPIDS,
            "",
            ("AVX", "AVX2", "FMA", "F16C", "AVX-VNNI", "AVX-512", "AVX-512-VNNI", "AVX-512-BF16", "AMX"),
        ),
        ("", "", ()),
    ],
)
def test_linux_tells_name_and_instructions(text: str, name: str, features: tuple[str, ...]) -> None:
    found = on_linux(text)
    assert (found.name, found.features) == (name, features)


@pytest.mark.parametrize(
    ("cores", "quota", "threads", "why"),
    [
        (8, None, 8, "one per core"),
        (8, Quota(cores=2.5, where="/pod"), 2, "the quota of 2.5 cores cuts 8 to 2"),
        (8, Quota(cores=0.5, where="/pod"), 1, "the quota of 0.5 cores cuts 8 to 1"),
        (2, Quota(cores=16.0, where="/pod"), 2, "one per core"),
    ],
)
def test_a_quota_cuts_threads_and_says_so(cores: int, quota: Quota | None, threads: int, why: str) -> None:
    found = on_linux("", cores=cores, quota=quota)
    assert found.threads == threads
    assert found.why["threads"] == why
    assert (quota is None) == (found.quota is None)


def test_names_of_architectures_are_one_for_all_systems() -> None:
    assert on_linux(recorded.RASPBERRY_PI_5, machine="aarch64").architecture == "arm64"
    assert on_linux("", machine="riscv64").architecture == "riscv64"


def test_a_mac_counts_its_fast_cores_only() -> None:
    found = cpu.on_darwin(sysctl.parse(recorded.M3_PRO), machine="arm64", logical=12)
    assert (found.name, found.logical, found.cores, found.threads) == ("Apple M3 Pro", 12, 6, 6)


def test_a_mac_tells_its_instructions() -> None:
    values = sysctl.parse("hw.optional.arm64: 1\n" + recorded.M4_FEATURES)
    assert cpu.on_darwin(values, machine="arm64", logical=10).features == ("NEON", "DOTPROD", "I8MM", "SME")


def test_lines_on_unknown_names_are_passed_over() -> None:
    text = "sysctl: unknown oid 'iogpu.wired_limit_mb'\nhw.memsize: 68719476736\n"
    assert sysctl.parse(text) == {"hw.memsize": "68719476736"}


def test_memory_is_what_the_kernel_calls_available() -> None:
    found = memory.on_linux(MEMINFO, None)
    assert (found.total, found.available, found.limit) == (24684084 * 1024, 22985640 * 1024, None)


def test_the_control_groups_limit_cuts_memory_and_says_where() -> None:
    found = memory.on_linux(MEMINFO, Limit(limit=2 << 30, free=1 << 30, where="/sys/fs/cgroup/pod"))
    assert (found.limit, found.available) == (2 << 30, 1 << 30)
    assert "/sys/fs/cgroup/pod" in found.why["limit"]
    assert "control group" in found.why["available"]


def test_a_limit_above_what_is_there_cuts_nothing() -> None:
    found = memory.on_linux(MEMINFO, Limit(limit=1 << 50, free=1 << 50, where="/pod"))
    assert found.available == 22985640 * 1024
    assert found.why["available"] == "MemAvailable of /proc/meminfo"


def test_a_kernel_that_does_not_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="MemAvailable"):
        memory.on_linux("MemTotal:  1 kB\n", None)


def test_a_mac_tells_its_memory() -> None:
    found = memory.on_darwin({"hw.memsize": "68719476736"})
    assert (found.total, found.available) == (64 << 30, 32 << 30)


@pytest.mark.parametrize(
    "value",
    [
        on_linux(recorded.RASPBERRY_PI_5),
        cpu.on_darwin(sysctl.parse(recorded.M3_PRO), machine="arm64", logical=12),
        cpu.unknown(machine="x86_64", logical=4),
        memory.on_linux(MEMINFO, None),
        memory.on_darwin({}),
        memory.unknown(),
    ],
)
def test_every_figure_has_its_reason(value: Cpu | Memory) -> None:
    assert {field.name for field in dataclasses.fields(value)} == {*value.why, "why"}
    assert all(value.why.values())
