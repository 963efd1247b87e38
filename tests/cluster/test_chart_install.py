"""The chart on a real API server, by the real helm: installed, upgraded, rolled back, removed; and with which rights.

There are no nodes, so no pod runs; whether one may is the API server's decision and is seen here.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kit.cluster import Cluster

CHART = Path(__file__).resolve().parents[2] / "charts" / "vllama"
OPERATOR = "vllama-operator"
Install = Callable[..., str]
LLMSERVE = {
    "apiVersion": "vllama.dev/v1alpha1",
    "kind": "LLMServe",
    "metadata": {"name": "qwen3"},
    "spec": {"model": {"source": "qwen3:0.6b"}},
}


@pytest.fixture
def install(llmserves: Cluster, namespace: str, request: pytest.FixtureRequest) -> Install:
    """Installs the chart into the test's namespace; what is not bound to one is removed afterwards."""

    def install(*words: str) -> str:
        request.addfinalizer(lambda: llmserves.helm("uninstall", "vllama", "--namespace", namespace, "--ignore-not-found"))
        return llmserves.helm("install", "vllama", str(CHART), "--namespace", namespace, *words)

    return install


def settings(cluster: Cluster, namespace: str) -> Any:
    return yaml.safe_load(cluster.get("configmap", OPERATOR, "-n", namespace)["data"]["operator.yaml"])


def may(cluster: Cluster, account: str, right: str, namespace: str) -> bool:
    """Whether a service account has a right, such as ``patch llmserves.vllama.dev/status``."""
    verb, what = right.split()
    name, _, subresource = what.partition("/")
    resource, _, group = name.partition(".")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{account}", "resourceAttributes": asked},
    }
    return bool(json.loads(cluster.kubectl("create", "-f", "-", "-o", "json", stdin=review))["status"]["allowed"])


def test_is_installed_upgraded_rolled_back_and_removed(llmserves: Cluster, namespace: str, install: Install) -> None:
    """What people made outlives it: the definition, and their LLMServes."""
    notes = install()
    assert "kubectl get llm -w" in notes
    assert "asks for no key" in notes
    llmserves.kubectl("create", "-n", namespace, "-f", "-", stdin=LLMSERVE)
    assert settings(llmserves, namespace)["cacheSize"] == "50Gi"
    llmserves.helm("upgrade", "vllama", str(CHART), "--namespace", namespace, "--set", "cache.size=20Gi,operator.replicas=2")
    assert settings(llmserves, namespace)["cacheSize"] == "20Gi"
    assert llmserves.get("deployment", OPERATOR, "-n", namespace)["spec"]["replicas"] == 2
    llmserves.helm("rollback", "vllama", "1", "--namespace", namespace)
    assert settings(llmserves, namespace)["cacheSize"] == "50Gi"
    assert llmserves.get("deployment", OPERATOR, "-n", namespace)["spec"]["replicas"] == 1
    llmserves.helm("uninstall", "vllama", "--namespace", namespace)
    kinds = "deployments,configmaps,serviceaccounts,networkpolicies,roles,rolebindings,clusterroles,clusterrolebindings"
    assert llmserves.get(kinds, "-n", namespace, "-l", "app.kubernetes.io/managed-by=Helm")["items"] == []
    assert llmserves.get("llm", "-n", namespace)["items"][0]["metadata"]["name"] == "qwen3"


@pytest.mark.parametrize("example", sorted((CHART / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_can_be_installed(llmserves: Cluster, namespace: str, install: Install, example: Path) -> None:
    """Into a cluster that has the namespaces that they name."""
    for each in yaml.safe_load(example.read_text()).get("namespaces", []):
        llmserves.kubectl("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}})
    install("-f", str(example))
    assert "profiles" in settings(llmserves, namespace)


def test_the_operators_pod_is_admitted_where_security_is_restricted(llmserves: Cluster, namespace: str, install: Install) -> None:
    """Made by the Deployment's controller, so the API server has judged the pod itself."""
    llmserves.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    install()
    llmserves.kubectl("wait", "-n", namespace, "--for=create", "--timeout=60s", "pod", "-l", "app.kubernetes.io/name=vllama-operator")
    [pod] = llmserves.get("pods", "-n", namespace)["items"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


RIGHTS = {
    "watch llmserves.vllama.dev": True,
    "patch llmserves.vllama.dev/status": True,
    "patch deployments.apps": True,
    "create services": True,
    "create persistentvolumeclaims": True,
    "delete poddisruptionbudgets.policy": True,
    "list pods": True,
    "create events.events.k8s.io": True,
    "patch llmserves.vllama.dev": False,
    "delete llmserves.vllama.dev": False,
    "delete deployments.apps": False,
    "delete persistentvolumeclaims": False,
    "create pods": False,
    "get secrets": False,
    "create clusterroles.rbac.authorization.k8s.io": False,
}


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_operator_may_do_what_it_does_and_no_more(llmserves: Cluster, namespace: str, install: Install, scope: str) -> None:
    """As the API server judges; with named namespaces nothing in others, and no look at nodes, which belong to none."""
    install(*(["--set", f"namespaces={{{namespace}}}"] if scope == "namespace" else []))
    account = f"{namespace}:{OPERATOR}"
    rights = {**RIGHTS, "list nodes": scope == "cluster"}
    assert {right: may(llmserves, account, right, namespace) for right in rights} == rights
    assert may(llmserves, account, "patch deployments.apps", "default") is (scope == "cluster")


def test_helm_test_tells_whether_an_operator_acts(llmserves: Cluster, namespace: str, install: Install, tmp_path: Path) -> None:
    """Its script with the operator's own rights, as no pod can run it here; an operator is played by its Lease."""
    install()
    assert helm_test(llmserves, namespace, tmp_path).startswith("no operator has renewed the Lease")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": OPERATOR},
        "spec": {"holderIdentity": "operator-1", "renewTime": now, "leaseDurationSeconds": 600},
    }
    llmserves.kubectl("create", "-n", namespace, "-f", "-", stdin=lease)
    assert helm_test(llmserves, namespace, tmp_path) == "LLMServe is served, and operator-1 acts on it"


def helm_test(cluster: Cluster, namespace: str, folder: Path) -> str:
    config = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--flatten"))
    server = config["clusters"][0]["cluster"]
    (folder / "token").write_text(cluster.kubectl("create", "token", OPERATOR, "-n", namespace))
    (folder / "ca.crt").write_bytes(base64.b64decode(server["certificate-authority-data"]))
    address = urlsplit(server["server"])
    environment = {
        "SERVICE_ACCOUNT": str(folder),
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port),
        "NAMESPACE": namespace,
        "PATIENCE": "0",
    }
    script = str(CHART / "files" / "helm_test.py")
    result = subprocess.run([sys.executable, script], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False)
    return (result.stdout + result.stderr).strip()
