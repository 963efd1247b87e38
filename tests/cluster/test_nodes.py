"""A cluster with two real nodes: pods run, answer by the names of their Services, and nothing is left of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kit import cluster as clusters
from kit import images, network
from kit.cluster import NodeCluster

pytestmark = pytest.mark.slow
SERVER = "localhost/server:1"


def test_pods_run_on_both_nodes_and_answer_by_the_name_of_their_service(nodes: NodeCluster, tmp_path: Path) -> None:
    """CoreDNS, whose binary is at hand, plays a server: it answers /ready on its port."""
    archive = tmp_path / "server.tar"
    (tmp_path / "Corefile").write_text(".:1053 {\n    ready :8181\n    template ANY ANY . {\n        rcode NXDOMAIN\n    }\n}\n")
    files = {"coredns": nodes.programs / "coredns", "Corefile": tmp_path / "Corefile"}
    images.write(archive, name=SERVER, files=files, entrypoint=["/coredns", "-conf", "/Corefile"])
    nodes.load(archive)
    nodes.kubectl("create", "deployment", "server", f"--image={SERVER}", "--replicas=2", "--port=8181")
    spread = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    # each revision by itself: the pods of the one that goes do not count
    spread |= {"labelSelector": {"matchLabels": {"app": "server"}}, "matchLabelKeys": ["pod-template-hash"]}
    patch = {"spec": {"template": {"spec": {"topologySpreadConstraints": [spread]}}}}
    nodes.kubectl("patch", "deployment", "server", "-p", json.dumps(patch))
    nodes.kubectl("rollout", "status", "deployment/server", "--timeout=90s")
    nodes.kubectl("expose", "deployment", "server", "--port=80", "--target-port=8181")
    pods = nodes.get("pods", "-l", "app=server", "--field-selector=status.phase=Running")["items"]
    assert {"node-1", "node-2"} <= {pod["spec"]["nodeName"] for pod in pods}
    ask = (
        "curl",
        "--silent",
        "--fail",
        "--retry",
        "20",
        "--retry-delay",
        "1",
        "--retry-all-errors",
        "http://server.default.svc.cluster.local/ready",
    )
    assert nodes.inside(*ask) == "OK"
    assert nodes.inside(*ask, on="node-2") == "OK"


def test_a_log_is_read_through_the_api_server(nodes: NodeCluster) -> None:
    """Which is how the operator learns of a pod's progress."""
    assert "CoreDNS" in nodes.kubectl("logs", "deployment/server")


def test_nothing_is_left_of_a_cluster(programs: Path, nodes: NodeCluster, tmp_path: Path) -> None:
    """No cgroup, mount or interface; another one, made while the first still runs, has the same addresses."""
    before = (Path("/proc/self/mountinfo").read_text(), os.listdir("/sys/class/net"))
    with clusters.running_nodes(tmp_path / "state", programs=programs) as cluster:
        groups = Path("/proc", str(cluster.first), "cgroup").read_text()
        assert cluster.get("nodes")["items"][0]["status"]["addresses"][0]["address"] == network.CONTROL_PLANE_IP
    own = {line.rpartition("/")[2] for line in groups.splitlines() if "vllama-cluster" in line}
    assert own
    assert [path for name in own for path in Path("/sys/fs/cgroup").glob(f"**/{name}")] == []
    assert before == (Path("/proc/self/mountinfo").read_text(), os.listdir("/sys/class/net"))
