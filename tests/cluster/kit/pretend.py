"""What a kubelet would tell of a pod, said by a test where no node is: how a container runs, waits or ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kit.cluster import Cluster


def ends(cluster: Cluster, namespace: str, job: str, *, message: str = "", exit_code: int = 0) -> None:
    """The pod of a Job has done its work."""
    reason = "Completed" if exit_code == 0 else "Error"
    state = {"terminated": {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": "2026-01-01T00:00:00Z"}}
    _tell(
        cluster,
        namespace,
        pods(cluster, namespace, f"batch.kubernetes.io/job-name={job}")[0],
        state,
        phase="Succeeded" if exit_code == 0 else "Failed",
    )


def runs(cluster: Cluster, namespace: str, pod: str) -> None:
    """Its container does."""
    _tell(cluster, namespace, pod, {"running": {"startedAt": "2026-01-01T00:00:00Z"}})


def waits(cluster: Cluster, namespace: str, pod: str, *, reason: str, message: str = "", last: dict[str, Any] | None = None) -> None:
    """Its container does not run, for a reason.

    :param last: how it ended before.
    """
    _tell(cluster, namespace, pod, {"waiting": {"reason": reason, "message": message}}, last=last)


def has_a_node(cluster: Cluster, namespace: str, pod: str) -> None:
    """One that does not exist: the scheduler leaves it alone from now on, and for most of a minute nobody misses the node. It is no other
    pod's, as pods of a node that was missed before are removed at once.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": f"nowhere-{pod}"},
    }
    cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/binding", "-f", "-", stdin=body)


def says(cluster: Cluster, namespace: str, pod: str, *, reason: str, message: str) -> None:
    """An event of a pod, as kubelets write them."""
    uid = cluster.get("pod", pod, "-n", namespace)["metadata"]["uid"]
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": uid}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # what the scheduler said of the same pod came before
    told = {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": now}
    metadata = {"namespace": namespace, "generateName": f"{pod}-"}
    body = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "source": {"component": "kubelet"}} | told
    cluster.kubectl("create", "-f", "-", stdin=body)


def is_ready(cluster: Cluster, namespace: str, pod: str) -> None:
    """It serves."""
    _tell(cluster, namespace, pod, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=True)


def pods(cluster: Cluster, namespace: str, selector: str) -> list[str]:
    """Names."""
    return [each["metadata"]["name"] for each in cluster.get("pods", "-n", namespace, "-l", selector)["items"]]


def _tell(
    cluster: Cluster,
    namespace: str,
    pod: str,
    state: dict[str, Any],
    *,
    phase: str = "Running",
    ready: bool = False,
    last: dict[str, Any] | None = None,
) -> None:
    body = cluster.get("pod", pod, "-n", namespace)
    container = {
        "name": "agent", "image": body["spec"]["containers"][0]["image"], "imageID": "", "ready": ready, "restartCount": 1 if last else 0,
        "state": state, "lastState": last or {},
    }  # fmt: skip
    times = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [{"type": kind, "status": "True", **times} for kind in ("PodScheduled", "Initialized")]
    conditions += [{"type": kind, "status": str(ready), **times} for kind in ("ContainersReady", "Ready")]
    status = {"phase": phase, "conditions": conditions, "containerStatuses": [container]}
    cluster.kubectl(
        "patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "--patch-file=/dev/stdin", stdin={"status": status}
    )
