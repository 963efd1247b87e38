"""The addresses of a cluster with nodes. Pure.

All lie in namespaces of the cluster's own: no packet leaves them, and they can be the same for every cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

PODS = "10.21.0.0/16"
SERVICES = "10.22.0.0/16"
API_IP = "10.22.0.1"
"""The first of them: the Service `default/kubernetes`."""
DNS_IP = "10.22.0.10"
"""The Service `kube-system/kube-dns`."""
CONTROL_PLANE_IP = "10.20.0.1"
"""Of the first node, which shares its namespaces with the control plane and the cluster's DNS."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, by its number from 1 on."""

    number: int

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def ip(self) -> str:
        return f"10.20.0.{self.number}"

    @property
    def pods(self) -> str:
        """Addresses of its pods. Its CNI configuration says them, so the API server is told; it would number nodes as they come."""
        return f"10.21.{self.number - 1}.0/24"

    @property
    def is_first(self) -> bool:
        return self.number == 1


def nodes(count: int) -> tuple[Node, ...]:
    return tuple(Node(number) for number in range(1, count + 1))
