"""The image `operator`, with a read-only root, as the user that it names. What it does in a cluster is tests/cluster's business."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

MEGABYTES = 30
"""Measured 22, on top of Debian with Python: its own libraries. NumPy alone would be more."""


def test_says_how_it_is_set_up(start_operator) -> None:
    run = start_operator("--help")
    assert run.ended() == 0
    assert "VLLAMA_OPERATOR_CONFIG" in run.log.read_text()


def test_refuses_to_run_without_a_cluster(start_operator) -> None:
    run = start_operator()
    assert run.ended() == 2
    assert "there is no Kubernetes API to talk to" in run.log.read_text()


def test_names_a_wrong_setting_and_its_file(start_operator, tmp_path) -> None:
    settings = tmp_path / "operator.yaml"
    settings.write_text("cacheSize: much\n")
    run = start_operator(environment={"VLLAMA_OPERATOR_CONFIG": "/run/operator.yaml"}, mounts={settings: "/run/operator.yaml"})
    assert run.ended() == 2
    assert "/run/operator.yaml: cacheSize is 'much'" in run.log.read_text()


def test_is_no_root_and_cannot_change_what_it_runs(start_operator) -> None:
    program = "import os\nassert os.getuid() == 65532\nopen('/opt/vllama/new', 'w')"
    run = start_operator(entry=("/opt/vllama/bin/python", "-c", program))
    assert run.ended() == 1
    assert "Read-only file system" in run.log.read_text()


def test_holds_the_operator_alone(operator_image) -> None:
    [packages] = (operator_image.files / "opt/vllama/lib").glob("python3*/site-packages")
    found = {each.name for each in packages.iterdir()}
    assert {"vllama_core", "vllama_operator", "kopf"} <= found
    assert found & {"vllama_agent", "llama_cpp", "numpy", "torch", "huggingface_hub", "pip"} == set()
    size = sum(file.stat().st_size for file in (operator_image.files / "opt/vllama").rglob("*") if file.is_file() and not file.is_symlink())
    assert size < MEGABYTES * 1_000_000


def test_needs_no_bytecode_of_its_own(operator_image) -> None:
    """Which a read-only root could not keep."""
    for name in ("vllama_core", "vllama_operator"):
        [package] = (operator_image.files / "opt/vllama/lib").glob(f"python3*/site-packages/{name}")
        compiled = {file.name.partition(".")[0] for file in (package / "__pycache__").glob("*.pyc")}
        assert {file.stem for file in package.glob("*.py")} <= compiled


def test_opens_nothing_but_its_probes(operator_image) -> None:
    assert {entry.partition("=")[0] for entry in operator_image.config["Env"]} == {"PATH"}
    assert operator_image.config["User"] == "65532:65532"
    assert set(operator_image.config["ExposedPorts"]) == {"8080/tcp"}
