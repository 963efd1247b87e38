"""What the kernel says about cores and memory, as it writes it."""

from pathlib import Path

import pytest

from vllama_agent.hardware import cgroup, cpu


@pytest.mark.parametrize(("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("400000 100000", 4.0), ("max", None)])
def test_cpu_max(text: str, cores: float | None) -> None:
    assert cgroup.parse_cpu_max(text) == cores


@pytest.mark.parametrize(("text", "limit"), [("max\n", None), ("1073741824\n", 1 << 30), ("9223372036854771712\n", None)])
def test_memory_limit(text: str, limit: int | None) -> None:
    assert cgroup.parse_limit(text) == limit


def test_meminfo() -> None:
    assert cpu.parse_meminfo("MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n") == 8192 * 1024
    with pytest.raises(ValueError, match="MemAvailable"):
        cpu.parse_meminfo("MemTotal:  1 kB\n")


def test_page_cache() -> None:
    assert cgroup.parse_inactive_file("anon 5\ninactive_file 4096\nactive_file 7\n") == 4096


@pytest.mark.parametrize(("cores", "quota", "usable"), [(8, None, 8), (8, 2.5, 2), (8, 0.5, 1), (2, 16.0, 2)])
def test_a_quota_cuts_cores(cores: int, quota: float | None, usable: int) -> None:
    assert cpu.within_quota(cores, quota) == usable


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(siblings + "\n")
    assert cpu.physical_cores(range(4), tmp_path) == 2
    assert cpu.physical_cores(range(4), tmp_path / "nothing") == 4


def test_the_tightest_level_of_a_container_holds(tmp_path: Path) -> None:
    membership = tmp_path / "self"
    membership.write_text("0::/pod/container\n")
    root = tmp_path / "cgroup"
    (root / "pod" / "container").mkdir(parents=True)
    (root / "pod" / "cpu.max").write_text("150000 100000\n")
    (root / "pod" / "container" / "cpu.max").write_text("max 100000\n")
    (root / "pod" / "memory.max").write_text("1000000\n")
    (root / "pod" / "memory.current").write_text("900000\n")
    (root / "pod" / "memory.stat").write_text("inactive_file 300000\n")
    assert cgroup.cpu_quota(root=root, membership=membership) == 1.5
    assert cgroup.memory_free(root=root, membership=membership) == 400_000
    assert cgroup.cpu_quota(root=tmp_path / "none", membership=membership) is None


def test_this_machine_has_something() -> None:
    assert cpu.usable_cores() >= 1
    assert cpu.available_memory() > 0
