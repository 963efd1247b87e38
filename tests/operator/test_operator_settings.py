from __future__ import annotations

from pathlib import Path

import pytest

from vllama_core.errors import ConfigError
from vllama_operator import settings
from vllama_operator.profiles import Profile

FILE = """
agentImage: registry/agent@sha256:abc
imagePullSecrets: [registry]
cacheAccessMode: ReadWriteOnce
cacheSize: 80Gi
startSeconds: 600
clients: [{namespaceSelector: {matchLabels: {team: web}}}]
profiles:
  l40: {accelerator: nvidia, nodeSelector: {gpu: l40}, tolerations: [{operator: Exists}]}
  small:
"""


def test_the_file_and_the_pods_own_variables_make_the_settings(tmp_path: Path) -> None:
    (tmp_path / "operator.yaml").write_text(FILE)
    environment = {
        "VLLAMA_OPERATOR_CONFIG": str(tmp_path / "operator.yaml"),
        "VLLAMA_OPERATOR_NAMESPACES": "one, two",
        "POD_NAMESPACE": "system",
        "POD_NAME": "operator-1",
    }
    read = settings.load(environment)
    assert (read.agent_image, read.image_pull_secrets) == ("registry/agent@sha256:abc", ("registry",))
    assert (read.cache_access_mode, read.cache_bytes, read.start_seconds) == ("ReadWriteOnce", 80 << 30, 600)
    assert read.clients == ({"namespaceSelector": {"matchLabels": {"team": "web"}}},)
    assert (read.namespaces, read.own_namespace, read.identity) == (("one", "two"), "system", "operator-1")
    assert read.profiles == {
        "default": Profile(),
        "l40": Profile(accelerator="nvidia", node_selector={"gpu": "l40"}, tolerations=({"operator": "Exists"},)),
        "small": Profile(),
    }


def test_without_a_file_all_namespaces_are_served() -> None:
    assert settings.load({}).namespaces == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agentimage: x", "no field 'agentimage'"),
        ("agentImage: 3", "agentImage is 3: it must be a text"),
        ("cacheAccessMode: RWX", "cacheAccessMode is 'RWX': it must be one of ReadWriteMany"),
        ("cacheSize: lots", "cacheSize is 'lots'"),
        ("startSeconds: 1", "startSeconds is 1"),
        ("clients: {}", "clients is {}"),
        ("profiles: {a: {gpu: 1}}", "profile a has no field gpu"),
        ("profiles: {a: {accelerator: tpu}}", "accelerator is 'tpu'; it must be one of cpu, nvidia"),
        ("profiles: {a: {tolerations: {}}}", "tolerations is {}"),
        ("[1]", "must be a mapping"),
        ("a: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_value(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"operator\.yaml") as caught:
        settings.parse(text, file="operator.yaml")
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_the_variable_that_names_it() -> None:
    with pytest.raises(ConfigError, match="VLLAMA_OPERATOR_CONFIG is '/nowhere'"):
        settings.load({"VLLAMA_OPERATOR_CONFIG": "/nowhere"})
