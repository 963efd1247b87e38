"""The programs of a control plane, and with which words they are started. Pure.

Without nodes everything listens on 127.0.0.1 and needs no root. Flags: https://kubernetes.io/docs/reference/command-line-tools-reference/
"""

from __future__ import annotations

from kit import dns, network, node
from kit.certificates import Certificate
from kit.place import Place

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
CLIENTS = (
    Certificate(file="admin", user="admin", groups=("system:masters",)),
    Certificate(file="kube-controller-manager", user="system:kube-controller-manager"),
    Certificate(file="kube-scheduler", user="system:kube-scheduler"),
    Certificate(file="kube-apiserver-kubelet-client", user="kube-apiserver", groups=("system:masters",)),
    node.PROXY,
    dns.CLIENT,
)


def certificates(place: Place) -> list[Certificate]:
    """Of the programs, and of the one who tests."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")
    server_names = (*(f"DNS:{name}" for name in names), "IP:127.0.0.1", f"IP:{network.CONTROL_PLANE_IP}", f"IP:{network.API_IP}")
    server = Certificate(file="kube-apiserver", user="kube-apiserver", server_names=server_names)
    return [*CLIENTS, server, *(each for one in place.nodes for each in node.certificates(one))]


def etcd(place: Place) -> list[str]:
    """Without syncing to the disk: nothing in it is worth surviving a loss of power."""
    clients, peers = f"http://127.0.0.1:{place.etcd_port}", f"http://127.0.0.1:{place.peer_port}"
    return [
        *_program(place, "etcd"),
        *(f"--data-dir={place.state}/etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"),
    ]


def api_server(place: Place) -> list[str]:
    pki = place.pki
    audit = [f"--audit-policy-file={place.state}/audit-policy.json", f"--audit-log-path={place.audit_log}", "--audit-log-maxsize=10000"]
    return [
        *_program(place, "kube-apiserver"),
        *(f"--etcd-servers=http://127.0.0.1:{place.etcd_port}", f"--secure-port={place.port}"),
        *(_for_nodes(place) if place.nodes else _alone()),
        *(
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/kube-apiserver.crt",
            f"--tls-private-key-file={pki}/kube-apiserver.key",
        ),
        *(f"--service-account-issuer={ISSUER}", f"--service-account-key-file={pki}/service-accounts.key"),
        *(f"--service-account-signing-key-file={pki}/service-accounts.key", f"--service-cluster-ip-range={network.SERVICES}"),
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--profiling=false"),
        *(audit if place.audit else []),
    ]


def _alone() -> list[str]:
    return ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]


def _for_nodes(place: Place) -> list[str]:
    client = f"{place.pki}/kube-apiserver-kubelet-client"
    return [
        *(f"--advertise-address={network.CONTROL_PLANE_IP}", "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP"),
        *(
            f"--kubelet-certificate-authority={place.pki}/ca.crt",
            f"--kubelet-client-certificate={client}.crt",
            f"--kubelet-client-key={client}.key",
        ),
    ]


def controllers(place: Place) -> dict[str, list[str]]:
    """Those that give up if the API server is not there yet."""
    pki = place.pki
    manager = [
        *("--use-service-account-credentials=true", f"--service-account-private-key-file={pki}/service-accounts.key"),
        *(f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key"),
        *(("--allocate-node-cidrs=true", f"--cluster-cidr={network.PODS}") if place.nodes else ()),
        *(f"--root-ca-file={pki}/ca.crt", f"--service-cluster-ip-range={network.SERVICES}"),
    ]
    return {
        "kube-controller-manager": _controller(place, "kube-controller-manager") + manager,
        "kube-scheduler": _controller(place, "kube-scheduler"),
    }


def _controller(place: Place, name: str) -> list[str]:
    return [
        *_program(place, name),
        f"--kubeconfig={place.kubeconfig(name)}",
        "--secure-port=0",
        "--leader-elect=false",
        "--profiling=false",
        *("--kube-api-qps=200", "--kube-api-burst=400"),  # by default a thousand Deployments take them minutes
    ]


def _program(place: Place, name: str) -> list[str]:
    return [str(place.programs / "kube"), name]
