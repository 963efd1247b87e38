"""Where a test cluster lives, and what it is called: what its supervisor and the tests agree on. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kit import network
from kit.network import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One cluster's folder and ports.

    :ivar state: its folder: certificates, kubeconfigs, logs, data.
    :ivar programs: the folder of `tools/cluster_programs.py`.
    :ivar port: the API server's, on 127.0.0.1.
    :ivar etcd_port: etcd's for clients, on 127.0.0.1.
    :ivar peer_port: etcd's for other members, of which there are none.
    :ivar audit: whether the API server writes down every request.
    :ivar node_count: how many nodes; with one or more, everything runs in namespaces of the cluster's own.
    """

    state: Path
    programs: Path
    port: int
    etcd_port: int
    peer_port: int
    audit: bool = False
    node_count: int = 0

    @property
    def nodes(self) -> tuple[Node, ...]:
        return network.nodes(self.node_count)

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def audit_log(self) -> Path:
        """One event a line: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/"""
        return self.state / "audit.log"

    @property
    def ready(self) -> Path:
        """A file that is there as soon as the cluster can be used."""
        return self.state / "ready"

    @property
    def serving(self) -> Path:
        """A file that is there as soon as further nodes may come."""
        return self.state / "serving"

    def node_state(self, node: Node) -> Path:
        return self.state / node.name

    def node_pid(self, name: str) -> Path:
        """A file with the process id of a further node, as the first node's processes see it."""
        return self.state / f"{name}.pid"

    def kubeconfig(self, client: str) -> Path:
        return self.state / f"{client}.kubeconfig"


def written(place: Place) -> str:
    """As an argument of a supervisor."""
    return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in asdict(place).items()})


def read(text: str) -> Place:
    """What `written` wrote."""
    fields = json.loads(text)
    return Place(**{**fields, "state": Path(fields["state"]), "programs": Path(fields["programs"])})
