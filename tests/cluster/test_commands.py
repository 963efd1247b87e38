"""`vllama cluster` as a person types it, on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from kit.cluster import Cluster

Done = subprocess.CompletedProcess[str]


def vllama(cluster: Cluster, *words: str, stdin: str | None = None) -> Done:
    command = [sys.executable, "-m", "vllama_agent", "cluster", *words]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_is_deployed_listed_changed_and_deleted(llmserves: Cluster, namespace: str) -> None:
    done = vllama(llmserves, "deploy", "qwen3:0.6b", "-n", namespace, "--memory", "2Gi")
    assert done.returncode == 0, done.stderr
    assert llmserves.get("llm", "qwen3-0-6b", "-n", namespace)["spec"]["resources"]["memory"] == "2Gi"
    llmserves.kubectl("scale", "llm/qwen3-0-6b", "--replicas=3", "-n", namespace)
    assert vllama(llmserves, "deploy", "qwen3:0.6b", "-n", namespace, "--memory", "3Gi").returncode == 0
    spec = llmserves.get("llm", "qwen3-0-6b", "-n", namespace)["spec"]
    assert (spec["resources"]["memory"], spec["replicas"]) == ("3Gi", 3), "what was not asked for stays as it is"

    listed = vllama(llmserves, "list", "-n", namespace).stdout.splitlines()
    assert listed[0].split() == ["NAME", "PHASE", "MODEL", "REPLICAS", "URL", "CREATED"]
    assert listed[1].split()[:5] == ["qwen3-0-6b", "-", "qwen3:0.6b", "0/3", "-"]
    [found] = json.loads(vllama(llmserves, "list", "-n", namespace, "--json").stdout)
    assert found["metadata"]["name"] == "qwen3-0-6b"
    assert namespace in vllama(llmserves, "list", "-A").stdout

    assert vllama(llmserves, "delete", "qwen3-0-6b", "-n", namespace).returncode == 0
    assert llmserves.get("llm", "-n", namespace)["items"] == []


def test_what_a_dry_run_prints_is_what_kubectl_takes(llmserves: Cluster, namespace: str) -> None:
    printed = vllama(llmserves, "deploy", "org/model", "-n", namespace, "--quantization", "Q8_0", "--dry-run").stdout
    llmserves.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed)


def test_the_api_servers_refusal_is_told(llmserves: Cluster, namespace: str) -> None:
    done = vllama(llmserves, "deploy", "qwen3", "-n", namespace, "--claim", "models", "--cache-size", "1Gi")
    assert done.returncode == 1
    assert "leave storageClass and size out" in done.stderr


def test_one_that_is_not_there_is_told(llmserves: Cluster, namespace: str) -> None:
    for verb in ("logs", "port-forward", "delete"):
        done = vllama(llmserves, verb, "nothing", "-n", namespace)
        assert (done.returncode, "no LLMServe of that name" in done.stderr) == (1, True), done.stderr


def test_without_a_pod_the_reason_is_told(llmserves: Cluster, namespace: str) -> None:
    assert vllama(llmserves, "deploy", "qwen3", "-n", namespace).returncode == 0
    for verb in ("logs", "port-forward"):
        done = vllama(llmserves, verb, "qwen3", "-n", namespace)
        assert (done.returncode, "the operator has not looked at it yet" in done.stderr) == (1, True), done.stderr


def test_a_token_comes_from_the_program_that_the_kubeconfig_names(llmserves: Cluster, namespace: str, tmp_path: Path) -> None:
    """As cloud clusters have it."""
    llmserves.kubectl("create", "serviceaccount", "person", "-n", namespace)
    llmserves.kubectl(
        "create", "rolebinding", "person", "--clusterrole=cluster-admin", f"--serviceaccount={namespace}:person", "-n", namespace
    )
    token = llmserves.kubectl("create", "token", "person", "-n", namespace).strip()
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    (tmp_path / "credential.json").write_text(json.dumps(credential))
    plugin = {"exec": {"apiVersion": credential["apiVersion"], "command": "cat", "args": [str(tmp_path / "credential.json")]}}
    view = json.loads(llmserves.kubectl("config", "view", "--raw", "-o", "json"))
    view["users"] = [{"name": "person", "user": plugin}]
    view["contexts"] = [{"name": "work", "context": {"cluster": view["clusters"][0]["name"], "user": "person", "namespace": namespace}}]
    for entry in view["clusters"]:
        entry["cluster"]["server"] = entry["cluster"]["server"].rstrip("/")
    (tmp_path / "kubeconfig").write_text(json.dumps(view | {"current-context": "work"}))
    theirs = Cluster(kubeconfig=tmp_path / "kubeconfig", programs=llmserves.programs, scratch=tmp_path)
    done = vllama(theirs, "list")
    assert (done.returncode, done.stdout.split()[0]) == (0, "NAME"), done.stderr
    assert "forbidden" in vllama(theirs, "list", "-n", "default").stderr
