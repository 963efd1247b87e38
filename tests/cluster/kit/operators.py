"""The operator as a process of this machine, with the rights and the settings that the chart gives it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.cluster import Cluster

CHART = Path(__file__).resolve().parents[3] / "charts" / "vllama"
NAME = "vllama-operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The chart in a cluster.

    :ivar namespace: that of the release.
    :ivar watched: namespaces whose LLMServes are served; none = all.
    :ivar folder: of kubeconfig, settings and logs.
    """

    namespace: str
    watched: tuple[str, ...]
    folder: Path

    @property
    def user(self) -> str:
        """What the API server calls the operator."""
        return f"system:serviceaccount:{self.namespace}:{NAME}"

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A replica while the block runs; its log is ``NAME.log``. It ends as a pod does, by SIGTERM."""
        environment = {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "POD_NAME": name,
            "POD_NAMESPACE": self.namespace,
            "VLLAMA_OPERATOR_CONFIG": str(self.folder / "operator.yaml"),
            "VLLAMA_OPERATOR_NAMESPACES": ",".join(self.watched),
            "VLLAMA_OPERATOR_HEALTH_PORT": "0",
        }
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "vllama_operator"], env=os.environ | environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def install(cluster: Cluster, namespace: str, folder: Path, *, watched: tuple[str, ...] = ()) -> Installation:
    """Install the chart by helm, and be its service account. No pod of it needs to run.

    :param watched: see `Installation`.
    """
    chosen = ["--set", f"namespaces={{{','.join(watched)}}}"] if watched else []
    cluster.helm("install", "vllama", str(CHART), "--namespace", namespace, "--create-namespace", *chosen)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/llmserves.vllama.dev")
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"] = [
        {"name": NAME, "user": {"token": cluster.kubectl("create", "token", NAME, "-n", namespace, "--duration=4h").strip()}}
    ]
    config["contexts"][0]["context"]["user"] = NAME
    (folder / "kubeconfig").write_text(json.dumps(config))
    (folder / "operator.yaml").write_text(cluster.get("configmap", NAME, "-n", namespace)["data"]["operator.yaml"])
    return Installation(namespace=namespace, watched=watched, folder=folder)
