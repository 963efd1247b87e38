"""Secrets that are wrong or not there: told within a minute and once, and when they are put right all goes on by itself."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import gated_hub, llmserves
from kit.cluster import NodeCluster
from kit.llmserves import DEMO

pytestmark = pytest.mark.slow

SECONDS = 60.0
REPAIRED_SECONDS = 240.0
"""The kubelet tries again later and later, two minutes apart at last, and then the model is fetched."""
SMALL = {"cpu": "500m", "memory": "2Gi", "contextLength": 512}
EPHEMERAL = {"cache": {"mode": "Ephemeral"}}


@pytest.fixture(scope="module")
def hub(site: NodeCluster, volume: Path) -> Iterator[str]:
    """Where pods find a hub whose repository wants a token."""
    tests = Path(__file__).parents[1]
    words = site.way_inside("node-1", sys.executable, "-m", "kit.gated_hub", str(volume / DEMO))
    environment = os.environ | {"PYTHONPATH": f"{tests / 'cluster'}:{tests / 'support'}"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def secret(site: NodeCluster, namespace: str, name: str, **values: str) -> None:
    """Make it, or change it."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}
    site.kubectl("apply", "-f", "-", stdin=body)


def told(site: NodeCluster, namespace: str, serve: str, reason: str) -> str:
    """The sentence of the condition Ready; empty while it has another reason."""
    ready = llmserves.condition(site, namespace, serve, "Ready")
    return ready["message"] if ready.get("reason") == reason else ""


def said(site: NodeCluster, namespace: str, serve: str, reason: str) -> int:
    """How many events there are."""
    return [event["reason"] for event in llmserves.events(site, namespace, serve)].count(reason)


@pytest.mark.parametrize("by", ["download", "agent"])
def test_a_gated_repository_is_told_once_and_fetched_with_the_right_token(
    site: NodeCluster, yard: str, hub: str, tmp_path: Path, by: str
) -> None:
    """A Job is tried again, with what the Secret says then; an agent that fetches for itself has to be started anew."""
    tmp_path.chmod(0o777)
    llmserves.claim(site, yard, "cache", str(tmp_path), mode="ReadWriteMany")
    secret(site, yard, "hf", token="hf_wrong")
    model = {"source": gated_hub.REPOSITORY, "secretRef": {"name": "hf"}}
    engine = {"env": [{"name": "HF_ENDPOINT", "value": hub}]}
    cache = EPHEMERAL if by == "agent" else {"cache": {"claimName": "cache"}}
    llmserves.make(site, yard, "gated", model=model, engine=engine, resources=SMALL, **cache)
    sentence = llmserves.until(lambda: told(site, yard, "gated", "AccessDenied"), SECONDS)
    assert "spec.model.secretRef" in sentence
    assert gated_hub.REPOSITORY in sentence
    assert "hf_wrong" not in sentence
    llmserves.until(lambda: attempts(site, yard, by) >= 2, SECONDS)
    assert (said(site, yard, "gated", "AccessDenied"), bool(told(site, yard, "gated", "AccessDenied"))) == (1, True)

    secret(site, yard, "hf", token=gated_hub.TOKEN)
    if by == "agent":
        site.kubectl("rollout", "restart", "deployment/gated", "-n", yard)
    with phases(site, yard, tmp_path) as seen:
        llmserves.until(lambda: told(site, yard, "gated", "Serving"), REPAIRED_SECONDS)
    assert any(re.fullmatch(r"Downloading \d+ %", phase) for phase in seen), seen
    assert seen[-2:] == ["Loading" if by == "download" else "RollingOut", "Ready"]
    assert "lastFailure" not in site.get("llm", "gated", "-n", yard)["status"]
    assert said(site, yard, "gated", "AccessDenied") == 1


def attempts(site: NodeCluster, namespace: str, by: str) -> int:
    """How often the model was asked for in vain."""
    pod = f"-l=vllama.dev/llmserve=gated,vllama.dev/job{'=download' if by == 'download' else '!=plan'}"
    if by == "download":
        [found] = site.get("pods", "-n", namespace, pod)["items"]
        return sum(1 + each["restartCount"] for each in found["status"]["containerStatuses"])
    return site.kubectl("logs", "-n", namespace, pod, "--tail=-1").count('"AccessDenied"')


@contextlib.contextmanager
def phases(site: NodeCluster, namespace: str, folder: Path) -> Iterator[list[str]]:
    """What `kubectl get llm -w` shows meanwhile, each phase once; there when the block ends."""
    found: list[str] = []
    words = site.command("kubectl", "get", "llm", "-n", namespace, "-w", "-o", 'jsonpath={.status.phase}{"\\n"}')
    with open(folder / "phases", "wb") as seen, subprocess.Popen(words, stdout=seen) as watching:
        yield found
        watching.terminate()
    found += [phase for phase, _ in itertools.groupby((folder / "phases").read_text().splitlines())]


@pytest.mark.parametrize("there", [{}, {"other": "k1"}], ids=["secret", "key"])
@pytest.mark.parametrize("field", ["keys", "token"])
def test_a_secret_that_is_not_there_is_told_once_and_waited_for(
    site: NodeCluster, yard: str, volume: Path, field: str, there: dict[str, str]
) -> None:
    """The Secret itself, or the key of it that is named; of the agent's API, or of the model's source."""
    llmserves.claim(site, yard, "models", str(volume))
    if there:
        secret(site, yard, "doors", **there)
    model: dict[str, object] = {"source": f"pvc://models/{DEMO}"}
    spec = {"api": {"keySecretRef": {"name": "doors"}}} if field == "keys" else {}
    model |= {} if field == "keys" else {"secretRef": {"name": "doors"}}
    llmserves.make(site, yard, "locked", model=model, resources=SMALL, **EPHEMERAL, **spec)
    reason, words = ("FailedMount", "spec.api.keySecretRef") if field == "keys" else ("CreateContainerConfigError", "Secret")
    sentence = llmserves.until(lambda: told(site, yard, "locked", reason), SECONDS)
    assert words in sentence
    assert (field if there else "doors") in sentence
    secret(site, yard, "doors", **{field: "k1"})
    llmserves.until(lambda: told(site, yard, "locked", "Serving"), REPAIRED_SECONDS)
    assert said(site, yard, "locked", reason) == 1
    assert "lastFailure" not in site.get("llm", "locked", "-n", yard)["status"]
