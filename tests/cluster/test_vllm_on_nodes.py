"""An LLMServe for vLLM where pods truly run: the image `agent-cuda` on a base that stands in for vLLM's, with the rebuild for CPUs.

No GPU, and not vLLM's own image; all between `kubectl apply` and a token is what a GPU's pod has too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import image_builds
import pytest
from kit import images, llmserves
from kit.cluster import NodeCluster

pytestmark = pytest.mark.slow

START_SECONDS = 300.0
"""Torch is imported twice, by cores that the cluster shares."""
NAME = "tiny-vllm"
ASK = f"""
import json, urllib.request
body = {{"model": "{NAME}", "messages": [{{"role": "user", "content": "the weather"}}], "stream": False, "options": {{"num_predict": 8}}}}
request = urllib.request.Request("http://demo:11434/api/chat", json.dumps(body).encode())
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


@pytest.fixture(scope="module")
def image(site: NodeCluster, cuda_build: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """`agent-cuda` on every node, by its name."""
    archive = tmp_path_factory.mktemp("image") / "agent-cuda.tar"
    images.save(cuda_build, archive)
    site.load(archive)
    archive.unlink()
    return cuda_build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a folder of Hugging Face's files, which pods may only read."""
    folder = tmp_path_factory.mktemp("models")
    image_builds.tiny_model(folder / NAME)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def wanted(site: NodeCluster, yard: str, image: str, model: Path) -> dict[str, Any]:
    """The spec of an LLMServe whose claims are there: of the model, and of vLLM's packages, which its own image would have."""
    llmserves.claim(site, yard, "models", str(model))
    llmserves.claim(site, yard, "packages", str(image_builds.vllm_packages()))
    packages = {"name": "packages", "persistentVolumeClaim": {"claimName": "packages", "readOnly": True}}
    mount = {"name": "packages", "mountPath": image_builds.VLLM_PACKAGES, "readOnly": True}
    return {
        "model": {"source": f"pvc://models/{NAME}", "name": NAME},
        "engine": {"type": "vllm", "image": image, "options": {"parallel": 4, "kvCells": 2048}, "args": ["--enforce-eager"]},
        "resources": {"accelerator": "cpu", "cpu": "1", "memory": "4Gi", "contextLength": 512},
        "cache": {"mode": "Ephemeral"},
        "podTemplate": {"spec": {"volumes": [packages], "containers": [{"name": "agent", "volumeMounts": [mount]}]}},
    }


def test_an_llmserve_is_served_by_vllm(site: NodeCluster, yard: str, wanted: dict[str, Any]) -> None:
    """Through its Service, and with as much shared memory as the pod has memory."""
    llmserves.make(site, yard, "demo", **wanted)
    llmserves.until(lambda: llmserves.condition(site, yard, "demo", "Ready").get("status") == "True", START_SECONDS)
    status = site.get("llm", "demo", "-n", yard)["status"]
    assert (status["engine"], status["readyReplicas"]) == ("vllm", 1)
    assert llmserves.condition(site, yard, "demo", "Fits")["reason"] == "NoGpu"
    log = site.kubectl("logs", "-n", yard, "deployment/demo")
    assert "--max-model-len 512" in log
    assert "--enforce-eager" in log

    def inside(*command: str) -> str:
        return site.kubectl("exec", "-n", yard, "deployment/demo", "--", *command)

    assert inside("df", "--output=size", "--block-size=1M", "/dev/shm").split()[-1] == "4096"
    assert 0 < json.loads(inside("python", "-c", ASK))["eval_count"] <= 8


def test_what_vllm_dies_of_is_told_once(site: NodeCluster, yard: str, wanted: dict[str, Any]) -> None:
    """The agent goes on, and tries again."""
    wanted["engine"]["args"] = ["--no-such-argument"]
    llmserves.make(site, yard, "wrong", **wanted)
    ready = llmserves.until(lambda: failed(site, yard), START_SECONDS)
    assert "vLLM does not know these arguments: --no-such-argument" in ready["message"]
    llmserves.until(lambda: site.kubectl("logs", "-n", yard, "deployment/wrong").count("a pinned model is not ready") >= 3, START_SECONDS)
    assert failed(site, yard) == ready
    assert [event["reason"] for event in llmserves.events(site, yard, "wrong")].count("EngineFailed") == 1


def failed(site: NodeCluster, namespace: str) -> dict[str, str] | None:
    ready = llmserves.condition(site, namespace, "wrong", "Ready")
    return ready if ready.get("reason") == "EngineFailed" else None
