"""The cluster's DNS: CoreDNS beside the control plane, which pods reach as the Service `kube-system/kube-dns`. Pure."""

from __future__ import annotations

from typing import Any

from kit import network
from kit.certificates import Certificate
from kit.place import Place

CLIENT = Certificate(file="coredns", user="system:coredns")
READY = "http://127.0.0.1:8181/ready"


def coredns(place: Place) -> list[str]:
    return [str(place.programs / "coredns"), "-conf", str(place.state / "Corefile")]


def corefile(place: Place) -> str:
    """No other names exist, and without a cache a change is seen at once."""
    return f""".:53 {{
    bind {network.CONTROL_PLANE_IP}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {place.kubeconfig("coredns")}
        pods insecure
    }}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def objects() -> list[dict[str, Any]]:
    """What CoreDNS may read, and its Service: it is no pod, so there is no selector and this one address."""
    group = "rbac.authorization.k8s.io"
    metadata = {
        "name": "kube-dns",
        "namespace": "kube-system",
        "labels": {"k8s-app": "kube-dns", "kubernetes.io/service-name": "kube-dns"},
    }
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": CLIENT.user}, "rules": rules},
        binding(CLIENT.user, role=CLIENT.user, user=CLIENT.user),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": network.DNS_IP, "ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [network.CONTROL_PLANE_IP], "conditions": {"ready": True}}],
        },
    ]


def binding(name: str, *, role: str, user: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
