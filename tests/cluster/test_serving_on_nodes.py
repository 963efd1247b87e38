"""What the chart and an LLMServe lead to where pods truly run: images of our Dockerfile, and a model from a volume that somebody filled."""

from __future__ import annotations

import json
import subprocess
from itertools import groupby
from pathlib import Path

import image_builds
import pytest
from kit import llmserves
from kit.cluster import NodeCluster
from kit.llmserves import DEMO

pytestmark = pytest.mark.slow

MODEL = "gemma3:270m-base"
ASK = f"""
import json, urllib.request
body = {{"model": "{MODEL}", "prompt": "Paris is the capital of", "raw": True, "stream": False,
         "options": {{"temperature": 0, "num_predict": 2}}}}
request = urllib.request.Request("http://demo:11434/api/generate", json.dumps(body).encode())
print(json.load(urllib.request.urlopen(request, timeout=60))["response"])
"""


@pytest.fixture
def claim(site: NodeCluster, yard: str, volume: Path) -> str:
    """A claim of it in the test's namespace."""
    llmserves.claim(site, yard, "models", str(volume))
    return "models"


def test_helm_test_finds_the_operator_at_work(site: NodeCluster) -> None:
    assert "Succeeded" in site.helm("test", "vllama", "--namespace", "vllama-system", "--timeout=60s")


def test_an_llmserve_serves_a_model_to_other_pods(site: NodeCluster, yard: str, claim: str, tmp_path: Path) -> None:
    """By the name of its Service, from a pod of another image; and `kubectl get llm -w` shows how it came to that."""
    watch = ["get", "llm", "-n", yard, "-w", "-o", 'jsonpath={.status.phase}{"\\n"}']
    with open(tmp_path / "phases", "wb") as seen, subprocess.Popen(site.command("kubectl", *watch), stdout=seen) as watching:
        llmserves.make(
            site,
            yard,
            "demo",
            model={"source": f"pvc://{claim}/{DEMO}", "name": MODEL},
            cache={"mode": "Ephemeral"},
            resources={"cpu": "1", "memory": "2Gi", "contextLength": 512},
        )
        site.kubectl("wait", "-n", yard, "--for=condition=Ready", "--timeout=90s", "llm/demo")
        watching.terminate()
    phases = [phase for phase, _ in groupby((tmp_path / "phases").read_text().split())]
    assert phases[-1] == "Ready"
    assert {"Starting", "Loading"} & set(phases)
    assert "Failed" not in phases

    status = site.get("llm", "demo", "-n", yard)["status"]
    assert status["url"] == f"http://demo.{yard}.svc:11434"
    assert status["engine"] == "llamacpp"
    assert status["readyReplicas"] == 1
    assert 0 < status["coldStartSeconds"] < 90
    assert "lastFailure" not in status

    site.kubectl("apply", "-n", yard, "-f", "-", stdin=asking_pod())
    site.kubectl("wait", "-n", yard, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "pod/asks")
    assert site.kubectl("logs", "-n", yard, "asks").strip().startswith("France")


def asking_pod() -> dict[str, object]:
    """As restricted as all others here; the operator's image has a Python, and nothing of ours is used."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "asks",
        "image": f"{image_builds.REPOSITORY}:operator",
        "command": ["python3", "-c", ASK],
        "securityContext": security,
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asks"}, "spec": spec}


def test_the_pods_run_as_nobody_with_no_token(site: NodeCluster, yard: str, claim: str) -> None:
    """Seen from inside of one."""
    llmserves.make(site, yard, "demo", model={"source": f"pvc://{claim}/{DEMO}", "name": MODEL}, cache={"mode": "Ephemeral"})
    site.kubectl("wait", "-n", yard, "--for=condition=Ready", "--timeout=90s", "llm/demo")
    program = "import json, os; print(json.dumps([os.getuid(), os.path.exists('/var/run/secrets'), os.access('/opt/vllama', os.W_OK)]))"
    assert json.loads(site.kubectl("exec", "-n", yard, "deployment/demo", "--", "python", "-c", program)) == [65532, False, False]
