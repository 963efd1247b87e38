"""What the chart says before a cluster sees it: helm's lint, its values and their schema, and every object that it makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import conformity
from kit.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "vllama"
SNAPSHOTS = Path(__file__).parent / "snapshots"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
KUBERNETES = ("--kube-version", "1.37.0")
"""What `helm template`, which asks no cluster, takes it to be."""


def helm(programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(programs / "helm"), *words], capture_output=True, text=True, timeout=60, check=False)


def example(name: str) -> list[str]:
    return [] if name == "default" else ["-f", str(CHART / "examples" / f"{name}.yaml")]


def rendered(programs: Path, *words: str) -> str:
    result = helm(programs, "template", *KUBERNETES, "vllama", str(CHART), "--namespace=vllama-system", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects(programs: Path, *words: str) -> dict[str, Any]:
    """By ``Kind/name``."""
    documents = yaml.safe_load_all(rendered(programs, *words))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in documents if each}


def test_the_charts_definition_is_a_copy_of_the_source() -> None:
    """After a change: cp crds/llmserve.yaml charts/vllama/crds/"""
    assert (CHART / "crds" / "llmserve.yaml").read_bytes() == (ROOT / "crds" / "llmserve.yaml").read_bytes()


@pytest.mark.parametrize("name", ["default", *EXAMPLES])
def test_helm_finds_no_fault(programs: Path, name: str) -> None:
    result = helm(programs, "lint", "--strict", str(CHART), *example(name))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def faults(programs: Path, llmserves: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """What kubeconform says of manifests by the API server's own schemas."""
    try:
        program = conformity.program(programs.parent)
    except conformity.CannotBuild as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("schemas")
    conformity.write_schemas(llmserves, folder)
    return lambda manifests: conformity.check(program, manifests, folder)


@pytest.mark.parametrize("name", ["default", *EXAMPLES])
def test_kubeconform_finds_no_fault(programs: Path, faults: Callable[[str], str], name: str) -> None:
    assert faults(rendered(programs, *example(name), "--include-crds")) == ""


def test_kubeconform_would_find_one(faults: Callable[[str], str]) -> None:
    """A misspelt field, and a definition that nobody made."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dada": {}}
    assert "additional properties 'dada' not allowed" in faults(json.dumps(config))
    assert "could not find schema for Nothing" in faults(json.dumps(config | {"kind": "Nothing"}))


@pytest.mark.parametrize("name", ["default", *EXAMPLES])
def test_makes_what_it_made_before(programs: Path, pytestconfig: pytest.Config, name: str) -> None:
    """After a change that is meant: pytest tests/cluster/test_chart.py --update-snapshots, and read the difference."""
    snapshot = SNAPSHOTS / f"{name}.yaml"
    made = rendered(programs, *example(name))
    if pytestconfig.getoption("--update-snapshots"):
        snapshot.write_text(made)
    assert made == snapshot.read_text()


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert known(schema, schema) - {"global"} == given(values)


def known(schema: dict[str, Any], part: dict[str, Any], path: str = "") -> set[str]:
    """Paths of the values that a schema lists; of free mappings only their own."""
    part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if "properties" not in part or path.startswith("profiles."):
        return {path}
    return {each for name, inner in part["properties"].items() for each in known(schema, inner, f"{path}.{name}".lstrip("."))}


def given(values: Any, path: str = "") -> set[str]:
    free = {"operator.resources", "profiles"}
    if not isinstance(values, dict) or not values or path in free:
        return {path}
    return {each for name, inner in values.items() for each in given(inner, f"{path}.{name}".lstrip("."))}


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("operator.replcas=1", "'replcas' not allowed"),
        ("agent.image.digest=latest", "/agent/image/digest"),
        ("cache.accessMode=ReadOnlyMany", "/cache/accessMode"),
        ("profiles.gpu.accelerator=tpu", "/profiles/gpu/accelerator"),
        ("profiles.gpu.selector=x", "'selector' not allowed"),
        ("clients=everybody", "/clients"),
        ("agent.startSeconds=1", "/agent/startSeconds"),
        ("podMonitor.interval=soon", "/podMonitor/interval"),
        ("agent.image.tag=", "image vllama has neither tag nor digest"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(programs: Path, setting: str, place: str) -> None:
    result = helm(programs, "template", *KUBERNETES, "vllama", str(CHART), "--set", setting)
    assert result.returncode != 0
    assert place in result.stderr


def test_a_digest_wins_over_a_tag(programs: Path) -> None:
    digest = "sha256:" + "0" * 64
    made = objects(programs, "--set", f"operator.image.digest={digest}")
    [container] = made["Deployment/vllama-operator"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"vllama@{digest}"


def test_the_operator_starts_anew_when_its_settings_change(programs: Path) -> None:
    """It reads them once."""
    checksums = {
        objects(programs, *words)["Deployment/vllama-operator"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for words in ([], ["--set", "cache.size=20Gi"])
    }
    assert len(checksums) == 2


def test_a_budget_comes_with_the_second_replica(programs: Path) -> None:
    assert "PodDisruptionBudget/vllama-operator" not in objects(programs)
    assert "PodDisruptionBudget/vllama-operator" in objects(programs, "--set", "operator.replicas=2")


def test_named_namespaces_need_no_right_in_others(programs: Path) -> None:
    made = objects(programs, "--set", "namespaces={models,chat}")
    assert [name for name in made if name.startswith("Cluster")] == []
    everywhere = objects(programs)["ClusterRole/vllama-system-vllama-operator"]["rules"]
    nodes = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    assert [*made["Role/vllama-system-vllama-operator"]["rules"], nodes] == everywhere, "nodes are in no namespace"


def test_a_pod_monitor_finds_the_agents(programs: Path) -> None:
    monitor = objects(programs, "--set", "podMonitor.enabled=true")["PodMonitor/vllama-agents"]
    assert monitor["spec"]["selector"]["matchExpressions"] == [{"key": "vllama.dev/llmserve", "operator": "Exists"}]
