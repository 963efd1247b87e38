"""Plan and download where their Jobs truly run: the answer reaches the operator, and the model the shared cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import llmserves, serving
from kit.cluster import NodeCluster
from kit.llmserves import DEMO

pytestmark = pytest.mark.slow


@pytest.fixture
def claims(site: NodeCluster, yard: str, volume: Path, tmp_path: Path) -> None:
    """Two in the test's namespace: of the disk with the demo model, and of an empty one for the cache."""
    tmp_path.chmod(0o777)
    llmserves.claim(site, yard, "models", str(volume))
    llmserves.claim(site, yard, "cache", str(tmp_path), mode="ReadWriteMany")


@pytest.mark.usefixtures("claims")
def test_jobs_plan_and_fetch_before_a_pod_serves(site: NodeCluster, yard: str, tmp_path: Path) -> None:
    model = {"source": f"pvc://models/{DEMO}", "name": "demo"}
    llmserves.make(
        site, yard, "demo", model=model, cache={"claimName": "cache"}, resources={"cpu": "1", "memory": "2Gi", "contextLength": 512}
    )
    site.kubectl("wait", "-n", yard, "--for=condition=Ready", "--timeout=90s", "llm/demo")
    fits = llmserves.condition(site, yard, "demo", "Fits")
    assert (fits["status"], "of 2.0 GiB" in fits["message"]) == ("True", True), fits
    assert llmserves.condition(site, yard, "demo", "ModelCached")["status"] == "True"
    assert site.get("llm", "demo", "-n", yard)["status"]["sizing"]["contextLength"] == 512
    assert list((tmp_path / "manifests").rglob("*")), "the model has its name in the cache"

    llmserves.make(site, yard, "small", model=model, cache={"claimName": "cache"}, resources={"memory": "64Mi", "contextLength": 512})
    llmserves.until(lambda: llmserves.condition(site, yard, "small", "Ready").get("reason") == "DoesNotFit", 60)
    assert "it would fit" in llmserves.condition(site, yard, "small", "Fits")["message"]
    assert serving.jobs(site, yard, "download", of="small") == []


@pytest.mark.usefixtures("claims")
def test_a_model_that_is_nowhere_is_told_by_the_job_that_looks_for_it(site: NodeCluster, yard: str) -> None:
    llmserves.make(site, yard, "lost", model={"source": "pvc://models/nothing.gguf"}, cache={"claimName": "cache"})
    llmserves.until(lambda: "nothing.gguf" in site.get("llm", "lost", "-n", yard)["status"].get("lastFailure", {}).get("message", ""), 60)
    assert llmserves.condition(site, yard, "lost", "Fits")["reason"] == "PlanFailed"
    assert llmserves.condition(site, yard, "lost", "Degraded")["status"] == "True"
