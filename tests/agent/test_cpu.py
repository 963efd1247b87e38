"""What the kernel says about cores and memory, as it writes it."""

from pathlib import Path

import pytest

from vllama_agent.hardware import cgroup, cpu
from vllama_core.detect.cpu import Quota
from vllama_core.detect.memory import Limit


@pytest.mark.parametrize(("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("400000 100000", 4.0), ("max", None)])
def test_cpu_max(text: str, cores: float | None) -> None:
    assert cgroup.parse_cpu_max(text) == cores


@pytest.mark.parametrize(("text", "limit"), [("max\n", None), ("1073741824\n", 1 << 30), ("9223372036854771712\n", None)])
def test_memory_limit(text: str, limit: int | None) -> None:
    assert cgroup.parse_limit(text) == limit


def test_page_cache() -> None:
    assert cgroup.parse_inactive_file("anon 5\ninactive_file 4096\nactive_file 7\n") == 4096


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
    assert cgroup.cpu_quota(root=root, membership=membership) == Quota(cores=1.5, where=str(root / "pod"))
    assert cgroup.memory_limit(root=root, membership=membership) == Limit(limit=1_000_000, free=400_000, where=str(root / "pod"))
    assert cgroup.cpu_quota(root=tmp_path / "none", membership=membership) is None
    assert cgroup.memory_limit(root=tmp_path / "none", membership=membership) is None


def test_the_first_version_of_control_groups_has_names_of_its_own(tmp_path: Path) -> None:
    """As Docker on an older host shows them: the container's own level stands at the root."""
    membership = tmp_path / "self"
    membership.write_text("4:memory:/docker/3a04cc66\n1:cpu,cpuacct:/docker/3a04cc66\n")
    root = tmp_path / "cgroup"
    for controller, files in {
        "cpu": {"cpu.cfs_quota_us": "250000\n", "cpu.cfs_period_us": "100000\n"},
        "memory": {
            "memory.limit_in_bytes": "2147483648\n",
            "memory.usage_in_bytes": "1073741824\n",
            "memory.stat": "total_inactive_file 1024\n",
        },
    }.items():
        (root / controller).mkdir(parents=True)
        for name, text in files.items():
            (root / controller / name).write_text(text)
    quota, limit = cgroup.cpu_quota(root=root, membership=membership), cgroup.memory_limit(root=root, membership=membership)
    assert quota == Quota(cores=2.5, where=str(root / "cpu"))
    assert limit == Limit(limit=2 << 30, free=(1 << 30) + 1024, where=str(root / "memory"))


def test_this_machine_has_something() -> None:
    assert cpu.usable_cores() >= 1
    assert cpu.available_memory() > 0
