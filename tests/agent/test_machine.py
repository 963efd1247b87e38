"""All probes together, with other systems' readings in place of this one's."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import recorded_hardware as recorded

from vllama_agent.hardware import cpu, drm, machine, metal, nvml, sysctl
from vllama_agent.hardware.looking import Absent, Failed
from vllama_core.detect import sysctl as parsing
from vllama_core.detect.apple import Metal
from vllama_core.hardware import Outcome, Vendor

M3 = parsing.parse(recorded.M3_PRO + recorded.M4_FEATURES + "hw.optional.arm64: 1\nhw.memsize: 38654705664\n")


def raises(error: Exception) -> None:
    raise error


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Darwin's answers."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(sysctl, "read", lambda: M3)
    monkeypatch.setattr(metal, "read", lambda: Metal(name="Apple M3 Pro", working_set=28991029248))
    return monkeypatch


def test_this_machine_is_looked_at() -> None:
    found = machine.detect({})
    assert found.cpu.threads >= 1
    assert found.memory.available > 0
    gpus = ["apple"] if sys.platform == "darwin" else ["nvidia", "amd", "intel"]
    assert [probe.name for probe in found.probes] == ["cpu", "memory", *gpus]
    assert all(probe.outcome is not Outcome.FAILED for probe in found.probes)


def test_an_nvidia_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "read", lambda on_pci: recorded.DGX_A100)
    found = machine.detect({"CUDA_VISIBLE_DEVICES": "4,5"})
    assert [gpu.identity for gpu in found.of(Vendor.NVIDIA)] == [recorded.DGX_A100.cards[4].uuid, recorded.DGX_A100.cards[5].uuid]
    assert [gpu.index for gpu in found.accelerators] == [0, 1]
    probe = found.probe("nvidia")
    assert probe is not None
    assert probe.detail == "8 cards, 8 devices, driver 550.54.15; CUDA_VISIBLE_DEVICES=4,5"


def test_a_lost_card_is_a_failure_although_the_others_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = dataclasses.replace(recorded.A10, broken=("card 1 does not answer: GPU is lost",))
    monkeypatch.setattr(nvml, "read", lambda on_pci: reading)
    found = machine.detect({})
    probe = found.probe("nvidia")
    assert probe is not None
    assert (len(found.accelerators), probe.outcome) == (1, Outcome.FAILED)


def test_amds_and_intels_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = recorded.sysfs(
        tmp_path,
        {"card0": (recorded.COMET_LAKE_UEVENT, {}), "card1": (recorded.PHOENIX_UEVENT, recorded.RX_580_VRAM)},
        (recorded.EPYC_NODE, recorded.PHOENIX_NODE),
    )
    monkeypatch.setattr(drm.of, "__kwdefaults__", {"root": root})
    found = machine.detect({})
    assert [(gpu.vendor, gpu.identity) for gpu in found.accelerators] == [(Vendor.AMD, "0000:64:00.0"), (Vendor.INTEL, "0000:00:02.0")]


def test_a_mac(mac: pytest.MonkeyPatch) -> None:
    found = machine.detect({})
    [gpu] = found.accelerators
    assert (found.system, found.cpu.name, found.cpu.threads) == ("Darwin", "Apple M3 Pro", 6)
    assert (found.memory.total, gpu.vendor, gpu.usable, gpu.architecture) == (36 << 30, Vendor.APPLE, 28991029248, "M3 Pro")
    assert [probe.name for probe in found.probes] == ["cpu", "memory", "apple"]


def test_a_mac_whose_metal_does_not_answer(mac: pytest.MonkeyPatch) -> None:
    mac.setattr(metal, "read", lambda: raises(Failed("Metal has no device here")))
    found = machine.detect({})
    probe = found.probe("apple")
    assert probe is not None
    assert found.accelerators[0].usable == 24 << 30
    assert probe.detail == "by sysctl, because Metal does not answer: Metal has no device here"


@pytest.mark.parametrize(
    ("values", "outcome", "words"),
    [
        ({"machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9880H"}, Outcome.ABSENT, "no Apple processor"),
        (M3 | {"sysctl.proc_translated": "1"}, Outcome.FAILED, "under Rosetta, where llama.cpp has no Metal"),
    ],
)
def test_macs_without_metal(values: dict[str, str], outcome: Outcome, words: str, mac: pytest.MonkeyPatch) -> None:
    mac.setattr(sysctl, "read", lambda: values)
    found = machine.detect({})
    probe = found.probe("apple")
    assert probe is not None
    assert (found.accelerators, probe.outcome) == ((), outcome)
    assert words in probe.detail


def test_a_mac_without_sysctl_is_served_by_assumptions(mac: pytest.MonkeyPatch) -> None:
    mac.setattr(sysctl, "read", lambda: raises(Failed("sysctl cannot be run")))
    found = machine.detect({})
    assert found.accelerators == ()
    assert found.cpu.threads >= 1
    assert "assumed" in found.memory.why["total"]


def test_what_cannot_be_read_is_assumed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cpu, "installed", lambda: raises(ValueError("no MemTotal line")))
    monkeypatch.setattr(cpu, "processors", lambda: raises(Absent("no /proc")))
    found = machine.detect({})
    assert found.memory.total == 8 << 30
    assert found.cpu.why["name"] == "the system does not tell"
    assert "looking at memory failed" in caplog.text


@pytest.mark.parametrize(
    ("environment", "marked", "inside"),
    [({}, False, False), ({}, True, True), ({"container": "podman"}, False, True), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False, True)],
)
def test_containers_are_known_by_what_they_leave(environment: dict[str, str], marked: bool, inside: bool, tmp_path: Path) -> None:
    mark = tmp_path / ".dockerenv"
    if marked:
        mark.touch()
    assert machine.in_container(environment, (mark,)) is inside


def test_sysctl_is_asked_once_for_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As macOS answers: unknown names make its status 1, and the others are printed."""
    tool = tmp_path / "sysctl"
    tool.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\ncat {tmp_path}/values\necho "sysctl: unknown oid \'x\'" >&2\nexit 1\n')
    tool.chmod(0o755)
    (tmp_path / "values").write_text(recorded.M3_PRO)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sysctl.read()["machdep.cpu.brand_string"] == "Apple M3 Pro"
    assert (tmp_path / "asked").read_text().split() == list(sysctl.NAMES)
    (tmp_path / "values").write_text("")
    with pytest.raises(Failed, match="sysctl printed nothing: sysctl: unknown oid 'x'"):
        sysctl.read()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(Failed, match="sysctl cannot be run"):
        sysctl.read()


@pytest.mark.skipif(sys.platform == "darwin", reason="needs a machine without Metal; this one is a Mac")
def test_metal_is_asked_in_a_child_that_fails_in_a_sentence_elsewhere() -> None:
    """The real child: here it finds no Metal."""
    with pytest.raises(Failed, match=r"vllama_agent\.hardware\.metal ended with code 1: OSError"):
        metal.read()
