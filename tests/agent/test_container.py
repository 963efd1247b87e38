"""The image's entry point on CPUs of all kinds, and the files around the image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vllama_agent import container
from vllama_core import durations

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import image  # noqa: E402 - it lies in tools/
import llama_wheel  # noqa: E402

# /proc/cpuinfo of machines, cut to the lines that matter. An Intel Sandy Bridge of 2011 (AVX, no AVX2); an Intel Haswell of 2013;
# a Raspberry Pi 4 (Cortex-A72); an AWS Graviton 2 (Neoverse N1)
SANDY_BRIDGE = "flags\t\t: fpu sse2 ssse3 sse4_1 sse4_2 x2apic popcnt aes xsave avx lahf_lm\n"
HASWELL = "flags\t\t: fpu sse2 ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt avx f16c lahf_lm abm bmi1 avx2 smep bmi2 erms\n"
CORTEX_A72 = "BogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
NEOVERSE_N1 = "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs\n"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "lacking"),
    [
        ("x86_64", HASWELL, ()),
        ("x86_64", SANDY_BRIDGE, ("avx2", "fma", "f16c", "bmi2")),
        ("aarch64", NEOVERSE_N1, ()),
        ("aarch64", CORTEX_A72, ("atomics", "asimddp")),
        ("x86_64", "processor\t: 0\n", ()),
        ("riscv64", "isa\t: rv64imafdc\n", ()),
    ],
)
def test_names_what_a_cpu_lacks(machine: str, cpuinfo: str, lacking: tuple[str, ...]) -> None:
    assert container.missing(machine, cpuinfo) == lacking


def test_every_core_of_the_machine_is_described_but_one_line_is_enough() -> None:
    assert container.missing("x86_64", SANDY_BRIDGE * 2) == container.missing("x86_64", SANDY_BRIDGE)


def test_an_old_cpu_gets_a_sentence_and_no_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CORTEX_A72)
    assert container.main(["--help"], machine="aarch64", cpuinfo=cpuinfo) == container.TOO_OLD
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "ARMv8.2 with dot products" in printed.err
    assert "make run" in printed.err


def test_a_new_cpu_gets_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(HASWELL)
    assert container.main(["--help"], machine="x86_64", cpuinfo=cpuinfo) == 0
    assert "usage: vllama" in capsys.readouterr().out


def test_the_features_asked_for_are_those_that_the_wheel_is_compiled_with() -> None:
    flags = llama_wheel.flags_for("portable", system="linux", machine="x86_64").split()
    compiled = {flag.removeprefix("-DGGML_").removesuffix("=ON").lower() for flag in flags if flag.endswith("=ON")}
    assert compiled == {feature.replace("_", "") for feature in container.NEEDED["x86_64"]}
    assert llama_wheel.flags_for("portable", system="linux", machine="aarch64").endswith("armv8.2-a+dotprod")


@pytest.mark.parametrize(
    ("builder", "begin"),
    [("docker", ["docker", "build", "--target"]), ("buildah", ["buildah", "bud", "--format", "docker", "--layers", "--target"])],
)
def test_builds_by_what_is_there(builder: str, begin: list[str]) -> None:
    words = image.command(builder, target="agent-cpu", tag="tag", environment={"BASE_IMAGE": "base", "IMAGE_FLAGS": "-v '/a b:/c'"})
    assert words[: len(begin)] == begin
    assert words[len(begin) :] == ["agent-cpu", "--tag", "tag", "--build-arg", "BASE_IMAGE=base", "-v", "/a b:/c", str(ROOT)]


def test_names_the_builders_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="docker, podman, buildah"):
        image.builder({})


def test_compose_waits_for_answers_and_keeps_the_key_in_a_file() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    agent = compose["services"]["vllama"]
    drain = durations.parse_seconds(agent["environment"]["VLLAMA_DRAIN_SECONDS"])
    assert durations.parse_seconds(agent["stop_grace_period"]) >= drain + 15
    assert agent["environment"]["VLLAMA_API_KEY_FILE"] == "/run/secrets/vllama_key"
    assert agent["read_only"]
    assert all(port.startswith("127.0.0.1:") for service in compose["services"].values() for port in service["ports"])


def test_the_check_runs_before_anything_compiled_is_loaded() -> None:
    program = "import sys, vllama_agent.container; print(sorted({'numpy', 'orjson', 'uvloop', 'llama_cpp'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
