"""`vllama config check`."""

from pathlib import Path

import pytest

from vllama_agent import cli


def test_a_right_file_is_said_to_be_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vllama.yaml"
    path.write_text("models:\n  - model: {source: qwen3, aliases: [small]}\n    replicas: 2\n  - model: {source: ./b.gguf, name: b}\n")
    assert cli.main(["config", "check", str(path)]) == 0
    output, notes = capsys.readouterr()
    assert output.splitlines() == ["qwen3  served as qwen3, small:latest", "./b.gguf  served as b:latest", f"{path} is right: 2 models"]
    assert notes == f"vllama: {path}, line 3: models[0].replicas is for clusters and changes nothing here\n"


def test_a_wrong_one_ends_with_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vllama.yaml"
    path.write_text("models:\n  - model:\n      source: qwen3\n      nmae: x\n")
    assert cli.main(["config", "check", str(path)]) == 2
    assert capsys.readouterr().err == f"vllama: {path}:4: models[0].model.nmae is not known here; did you mean name?\n"


def test_one_that_is_not_there_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err
