from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vllama_agent import cli
from vllama_core.errors import ConfigError
from vllama_operator.commands import manifest
from vllama_operator.commands.verbs import table


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["cluster", "deploy", "--dry-run", *words]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def test_the_least_is_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "qwen3:0.6b") == {
        "apiVersion": "vllama.dev/v1alpha1",
        "kind": "LLMServe",
        "metadata": {"name": "qwen3-0-6b"},
        "spec": {"model": {"source": "qwen3:0.6b"}},
    }


def test_every_flag_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "org/model --name chat -n team --replicas 2 --profile l4 --quantization Q8_0 --context-length 8192 --memory 8Gi --cpu 4 --gpus 2"
    )
    more = "--claim models --token-secret hf/hub --key-secret doors"
    assert printed(capsys, *words.split(), *more.split()) == {
        "apiVersion": "vllama.dev/v1alpha1",
        "kind": "LLMServe",
        "metadata": {"name": "chat", "namespace": "team"},
        "spec": {
            "model": {"source": "org/model", "quantization": "Q8_0", "secretRef": {"name": "hf", "key": "hub"}},
            "profile": "l4",
            "resources": {"memory": "8Gi", "cpu": "4", "count": 2, "contextLength": 8192},
            "replicas": 2,
            "cache": {"claimName": "models"},
            "api": {"keySecretRef": {"name": "doors"}},
        },
    }
    assert printed(capsys, "qwen3", "--ephemeral")["spec"]["cache"] == {"mode": "Ephemeral"}
    assert printed(capsys, "qwen3", "--cache-size", "10Gi")["spec"]["cache"] == {"size": "10Gi"}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("qwen3:0.6b", "qwen3-0-6b"),
        ("hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0", "qwen3-0-6b-gguf-q8-0"),
        ("https://host/folder/My_Model.gguf?Signature=secret", "my-model"),
        ("s3://bucket/llama/", "llama"),
        ("x" * 60, "x" * 45),
    ],
)
def test_a_name_is_made_from_the_models(model: str, name: str) -> None:
    assert manifest.name_of(model) == name


def test_no_name_can_be_made_from_nothing() -> None:
    with pytest.raises(ConfigError, match="--name"):
        manifest.name_of("???")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["qwen3", "--replicas", "many"], "--replicas is 'many'; it must be a whole number"),
        (["qwen3", "--quantization", "Q99"], "spec.model.quantization is 'Q99'"),
        (["qwen3", "--memory", "lots"], "spec.resources.memory is 'lots'"),
    ],
)
def test_what_cannot_be_is_told_without_a_cluster(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cluster", "deploy", "--dry-run", *words]) != 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "", "clusters: [", "{}"])
def test_without_a_cluster_the_way_to_one_is_told(
    text: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "config").write_text(text)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    assert cli.main(["cluster", "list"]) == 2
    assert "KUBECONFIG names the file" in capsys.readouterr().err


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert table([("NAME", "PHASE"), ("a", "Downloading 43 %")]) == "NAME    PHASE\na       Downloading 43 %\n"
