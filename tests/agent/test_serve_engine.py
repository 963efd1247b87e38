"""`vllama serve` chooses the engine, says why, and refuses what is not here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import machines
import pytest

from vllama_agent import cli, logs, server, testing
from vllama_agent.commands import serve
from vllama_agent.engines import process, registry
from vllama_agent.engines.llama_cpp import version
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.engines.mlx import version as mlx
from vllama_agent.hardware import machine as hardware
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.engine_build import Build
from vllama_core.hardware import Machine

Made = Callable[[Any, LoadConfig], LlamaCppEngine]


def made_by_serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: Machine, build: Build, config: LoadConfig | None = None
) -> LlamaCppEngine:
    """What `serve` makes for a model of its store; nothing is started."""
    taken: list[Made] = []

    async def serving(_config: AgentConfig, *, make_engine: Made, **_: Any) -> int:
        taken.append(make_engine)
        return 0

    monkeypatch.setattr(server, "serve", serving)
    monkeypatch.setattr(hardware, "detect", lambda: here)
    monkeypatch.setattr(registry, "builds", lambda home: (build,))
    monkeypatch.setattr(version, "is_here", lambda: False)  # so that no process is started
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(process, "yield_to_children", lambda: None)
    assert serve.serve(AgentConfig(home=tmp_path, load=config or LoadConfig())) == 0
    sized = replace(config or LoadConfig(), ctx_size=8192, kv_cells=32768, parallel=64)
    return taken[0](testing.FakeStore("m:latest").find("m"), sized)


def test_the_choice_and_its_reason_are_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made_by_serve(monkeypatch, tmp_path, machines.with_nvidia(), machines.llama_cpp("cuda"))
    assert caplog.messages == ["engine: llama.cpp, because NVIDIA A10, by CUDA"]


def test_a_gpu_that_would_lie_idle_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_by_serve(monkeypatch, tmp_path, machines.with_nvidia(), machines.llama_cpp())
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert 'build it anew: CMAKE_ARGS="-DGGML_CUDA=on"' in record.getMessage()


def test_layers_that_are_kept_off_the_gpu_are_no_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made_by_serve(monkeypatch, tmp_path, machines.with_nvidia(), machines.llama_cpp(), LoadConfig(gpu_layers=0))
    assert caplog.records == []


def test_mlx_is_refused_where_it_cannot_run_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mlx.sys, "platform", "linux")
    monkeypatch.setattr(mlx.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path))
    assert cli.main(["serve", "--engine", "mlx"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "vllama: the mlx engine is not installed for this Python; "
        "MLX runs on Macs with Apple Silicon, and this is linux on x86_64; llama.cpp serves GGUF files here\n"
    )


def test_vllm_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path))
    assert cli.main(["serve", "--engine", "vllm"]) == 2
    said = capsys.readouterr().err
    assert said == "vllama: the vllm engine is not installed for this Python; run: vllama engines install vllm\n"


def test_a_named_python_without_vllm_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLAMA_VLLM_PYTHON", "/bin/false")
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path))
    assert cli.main(["serve", "--engine", "vllm"]) == 2
    assert "VLLAMA_VLLM_PYTHON names /bin/false, which has no vLLM" in capsys.readouterr().err


def test_arguments_of_vllm_that_are_the_agents_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--engine-args", "--enforce-eager --port 80"]) == 2
    assert "--engine-args is '--enforce-eager --port 80': --port is not to be given: the agent" in capsys.readouterr().err


def test_backends_are_known_by_their_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml-vulkan.so", "libggml-cuda.so", "libggml-hip.so.0", "libllama.so"):
        (tmp_path / name).touch()
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    assert version.backends() == ("cuda", "vulkan")
    (tmp_path / "libggml-metal.dylib").touch()
    assert version.backends() == ("cuda", "metal", "vulkan")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path / "none"))
    assert version.backends() == ()
