"""`vllama doctor`: what it gathers, prints, and ends with."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import machines
import pytest
from aiohttp import web

from vllama_agent import cli, testing
from vllama_agent.commands import doctor, surroundings
from vllama_agent.environments import report
from vllama_agent.environments.report import Report
from vllama_core.hardware import Machine
from vllama_core.placement import Device, DeviceKind

CPU = Device(name="CPU", description="AMD EPYC", kind=DeviceKind.CPU, total=1 << 34, free=1 << 34)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command over a machine, with an engine that need not be there; (status, output)."""
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path))
    monkeypatch.setenv("VLLAMA_HOST", "127.0.0.1:0")

    def go(here: Machine, *words: str, **engine: Any) -> SimpleNamespace:
        found = Report("llama.cpp", "0.3.36", "/python", **({"devices": (CPU,)} | engine))
        monkeypatch.setattr(doctor.hardware, "detect", lambda: here)
        monkeypatch.setattr(report, "llama_cpp", lambda: found)
        status = cli.main(["doctor", *words])
        return SimpleNamespace(status=status, out=capsys.readouterr().out)

    return go


def test_a_machine_that_is_fine(run: Any) -> None:
    ended = run(machines.machine())
    assert ended.status == 0
    assert "no GPU was found that it could use, so it runs on 8 threads of the CPU" in ended.out
    assert ended.out.endswith("\nNo problem was found.\n")


def test_a_single_core_is_told_as_one(run: Any) -> None:
    here = machines.machine()
    alone = dataclasses.replace(here, cpu=dataclasses.replace(here.cpu, cores=1, threads=1))
    assert ": 1 core, 1 thread worth starting (" in run(alone).out


def test_an_error_decides_the_status_and_stands_with_its_remedy(run: Any) -> None:
    ended = run(machines.with_nvidia())
    assert ended.status == 1
    lines = ended.out.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert lines[place] == "error: llama.cpp is built without CUDA: NVIDIA A10 lies idle"
    assert "CMAKE_ARGS=" in lines[place + 1]
    gpu = (
        "GPU 0       NVIDIA A10: 23 GB usable, 23 GB free (all but what driver and firmware keep, which CUDA counts as not there), sm_86, "
    )
    assert gpu + "driver 550.127.05, CUDA 12.4" in lines


def test_every_kind_of_gpu_has_its_line(run: Any) -> None:
    assert "Apple M3 Pro: 28 GB of the machine's memory usable (Metal's recommendedMaxWorkingSetSize)" in run(machines.mac()).out
    shown = run(machines.with_cards(machines.RADEON)).out
    assert "Radeon RX 7900 XTX: 25 GB usable, 25 GB free (what the driver tells of VRAM), gfx1100" in shown


def test_a_warning_leaves_the_status_alone(run: Any) -> None:
    ended = run(machines.with_cards(machines.RADEON))
    assert (ended.status, "warning: llama.cpp is built without ROCm" in ended.out) == (0, True)


def test_json_has_the_reason_for_each_figure(run: Any) -> None:
    ended = run(machines.with_nvidia(), "--json")
    fields = json.loads(ended.out)
    assert ended.status == 1
    assert fields["machine"]["accelerators"][0]["why"]["usable"].startswith("all but what driver and firmware keep")
    assert fields["machine"]["cpu"]["why"]["threads"] == "one per core"
    assert fields["choice"] == {"engine": "llama.cpp", "backend": "cuda", "reason": "NVIDIA A10 is here"}
    assert {problem["level"] for problem in fields["problems"]} == {"error", "note"}
    assert fields["engines"][0]["devices"][0]["kind"] == "cpu"


def test_a_broken_engine_is_an_error(run: Any) -> None:
    ended = run(machines.machine(), problem="it does not load: code 1: libcuda.so.1 is missing", devices=())
    assert ended.status == 1
    assert "error: llama.cpp cannot be used: it does not load: code 1: libcuda.so.1 is missing" in ended.out


def test_the_real_engine_is_loaded_once_in_a_child() -> None:
    found = report.llama_cpp()
    assert found.problem is None
    assert DeviceKind.CPU in [device.kind for device in found.devices]


# -- surroundings -------------------------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_read_are_a_problem_and_not_an_end() -> None:
    around = surroundings.look(machines.machine(), {"VLLAMA_THREADS": "many"})
    assert around.settings == "VLLAMA_THREADS is 'many': it must be a whole number, 1 to 512"


def test_the_flags_variables_decide_what_is_looked_at(tmp_path: Path) -> None:
    environment = {"VLLAMA_HOME": str(tmp_path), "VLLAMA_GPU_LAYERS": "0", "VLLAMA_ENGINE": "llama.cpp", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    around = surroundings.look(machines.machine(), environment)
    assert (around.home, around.gpu_layers, around.engine, around.cuda_order) == (str(tmp_path), 0, "llama.cpp", "PCI_BUS_ID")


def test_a_store_that_is_not_there_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    assert surroundings.unwritable(home) is None
    assert not home.exists()
    assert (surroundings.disk_free(home) or 0) > 0


def test_a_place_that_cannot_be_written_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(surroundings.tempfile, "TemporaryFile", refuse)
    assert surroundings.unwritable(tmp_path / "home") == f"{tmp_path}: Read-only file system"


def test_a_free_port_has_no_listener() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert surroundings.listener("127.0.0.1", port) is None


def test_another_machines_address_is_not_ours_to_judge() -> None:
    assert surroundings.listener("192.0.2.1", 11434) is None
    assert surroundings.listener("no.such.host.invalid", 11434) is None


def test_a_program_that_does_not_answer_is_another_program() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: connections are refused
        assert surroundings.listener("127.0.0.1", taken.getsockname()[1]) == "another program"


async def test_a_vllama_that_serves_is_known() -> None:
    async with testing.serving() as served:
        port = int(served.url.rpartition(":")[2])
        assert await asyncio.to_thread(surroundings.listener, "127.0.0.1", port) == "vllama"


async def test_ollama_is_known_by_its_version() -> None:
    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "0.17.4"})

    app = web.Application()
    app.router.add_get("/api/version", version)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert await asyncio.to_thread(surroundings.listener, "127.0.0.1", runner.addresses[0][1]) == "Ollama"
    finally:
        await runner.cleanup()
