"""`vllama cluster logs` and `port-forward`, with a pod that truly runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import cluster as clusters
from kit import images
from kit.cluster import NodeCluster

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("containerd", "ctr", "runc", "nft", "conntrack", "ip", "unshare", "nsenter")
SERVER = "localhost/server:1"


@pytest.fixture(scope="module")
def node(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """One, with an LLMServe whose pod a test has made: CoreDNS plays the agent, as it answers /ready on its port."""
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"a node needs the programs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("node")
    with clusters.running_nodes(folder / "state", programs=programs) as cluster:
        archive = folder / "server.tar"
        (folder / "Corefile").write_text(".:1053 {\n    ready :11434\n    template ANY ANY . {\n        rcode NXDOMAIN\n    }\n}\n")
        files = {"coredns": cluster.programs / "coredns", "Corefile": folder / "Corefile"}
        images.write(archive, name=SERVER, files=files, entrypoint=["/coredns", "-conf", "/Corefile"])
        cluster.load(archive)
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds" / "llmserve.yaml"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/llmserves.vllama.dev")
        serve = {
            "apiVersion": "vllama.dev/v1alpha1",
            "kind": "LLMServe",
            "metadata": {"name": "qwen3"},
            "spec": {"model": {"source": "qwen3"}},
        }
        cluster.kubectl("apply", "-f", "-", stdin=serve)
        labels = {"app.kubernetes.io/name": "vllama", "vllama.dev/llmserve": "qwen3"}
        container = {"name": "agent", "image": SERVER, "imagePullPolicy": "Never"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "qwen3-a", "labels": labels}, "spec": {"containers": [container]}}
        cluster.kubectl("apply", "-f", "-", stdin=pod)
        cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/qwen3-a")
        yield cluster


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vllama_agent", "cluster", *words]


def test_a_log_is_printed(node: NodeCluster) -> None:
    environment = os.environ | {"KUBECONFIG": str(node.kubeconfig)}
    done = subprocess.run(command("logs", "qwen3"), env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "CoreDNS" in done.stdout) == (0, True), done.stderr


def test_a_port_of_this_machine_leads_to_the_pod_until_interrupted(node: NodeCluster) -> None:
    environment = os.environ | {"KUBECONFIG": str(node.kubeconfig)}
    with subprocess.Popen(command("port-forward", "qwen3", "--port", "0"), env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            for _ in range(3):
                with urllib.request.urlopen(f"{found[0]}/ready", timeout=30) as answer:
                    assert answer.read() == b"OK"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
