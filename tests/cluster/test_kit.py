"""The cluster that the other tests use: it ends with them, and a stranger's is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kit import audit
from kit import cluster as clusters
from kit.cluster import DISPOSABLE, Cluster, Refused

HERE = Path(__file__).parent
HOLDER = """
import pathlib, sys, time
from kit import cluster
with cluster.running(pathlib.Path(sys.argv[1]), programs=pathlib.Path(sys.argv[2])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_cluster_that_nobody_called_disposable_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """The sentence says how to call it so."""
    label = ("label", "namespace", "default", "--overwrite")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Active", "--timeout=60s", "namespace/default")
    cluster.kubectl(*label, f"{DISPOSABLE}-")
    with pytest.raises(Refused, match=f"label namespace default {DISPOSABLE}=true"):
        clusters.named(cluster.kubeconfig, programs=cluster.programs, scratch=tmp_path)
    cluster.kubectl(*label, f"{DISPOSABLE}=true")
    named = clusters.named(cluster.kubeconfig, programs=cluster.programs, scratch=tmp_path)
    assert named.get("namespace", "default")["metadata"]["labels"][DISPOSABLE] == "true"


def test_a_killed_test_run_leaves_no_api_server_behind(programs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "state"), str(programs)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        family = psutil.Process(holder.pid).children(recursive=True)
        assert {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} <= {
            word for each in family for word in each.cmdline()[1:2]
        }
        holder.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_the_audit_tells_who_asked_what_and_what_was_forbidden(programs: Path, tmp_path: Path) -> None:
    with clusters.running(tmp_path / "state", programs=programs, audit=True) as cluster:
        with pytest.raises(Refused, match="forbidden"):
            cluster.kubectl("get", "pods", "-n", "default", "--as=somebody")
        assert cluster.audit_log is not None
        asked = audit.requests(cluster.audit_log.read_text().splitlines())
    somebody = [request for request in asked if request.user == "somebody" and request.resource == "pods"]
    assert somebody == [audit.Request("somebody", "default", "pods", "list", allowed=False)]


def test_what_was_read_twice_in_the_log_counts_once() -> None:
    """A watch has an event when it begins and one when it ends."""
    event = '{"auditID": "1", "user": {"username": "u"}, "requestURI": "/readyz?verbose", "verb": "watch"}'
    assert audit.requests([event, event]) == [audit.Request("u", "", "/readyz", "watch", allowed=True)]
