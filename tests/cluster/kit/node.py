"""The programs of a node, and with which words and files they are started. Pure."""

from __future__ import annotations

import json
from pathlib import Path

from kit import network
from kit.certificates import Certificate
from kit.network import Node
from kit.place import Place

PAUSE = "localhost/pause:1"
"""Image of the container that holds a pod's namespaces open."""
PROXY = Certificate(file="kube-proxy", user="system:kube-proxy")


def certificates(node: Node) -> list[Certificate]:
    """The kubelet is a client of the API server, and a server to it."""
    user = f"system:node:{node.name}"
    return [
        Certificate(file=f"kubelet-{node.name}", user=user, groups=("system:nodes",)),
        Certificate(file=f"kubelet-{node.name}-server", user=user, server_names=(f"DNS:{node.name}", f"IP:{node.ip}")),
    ]


def containerd(node_state: Path) -> list[str]:
    return ["containerd", "--config", str(node_state / "containerd.toml")]


def kubelet(place: Place, node: Node) -> list[str]:
    state = place.node_state(node)
    return [
        *(str(place.programs / "kube"), "kubelet", f"--config={state}/kubelet.json", f"--kubeconfig={state}/kubelet.kubeconfig"),
        *(f"--hostname-override={node.name}", f"--node-ip={node.ip}"),
    ]


def kube_proxy(place: Place, node: Node) -> list[str]:
    """Conntrack's limits are the host's, which is not ours to change: 0 leaves them alone."""
    return [
        *(str(place.programs / "kube"), "kube-proxy", f"--kubeconfig={place.node_state(node)}/kube-proxy.kubeconfig"),
        *(f"--hostname-override={node.name}", "--proxy-mode=nftables", f"--cluster-cidr={network.PODS}"),
        *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"),
    ]


def files(place: Place, node: Node) -> dict[Path, str]:
    """What the programs read, beside certificates."""
    state = place.node_state(node)
    return {
        state / "containerd.toml": _containerd_config(),
        state / "kubelet.json": json.dumps(_kubelet_config(place, node), indent=1),
        state / "no-resolv.conf": "",
    }


def cni_config(node: Node) -> str:
    """Without masquerading: every address is routed in here, so pods are seen with their own."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins})


def _containerd_config() -> str:
    return f"""version = 2
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _kubelet_config(place: Place, node: Node) -> dict[str, object]:
    """Nothing is evicted and no image removed for want of space: the machine is shared with what runs beside the tests."""
    pki, state = place.pki, place.node_state(node)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-{node.name}-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-{node.name}-server.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{state}/no-resolv.conf",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
        "shutdownGracePeriod": "0s",
        "nodeStatusUpdateFrequency": "5s",
    }
