"""The process whose children are a node's programs: `python -m kit.node_supervisor FIELDS NUMBER`, in namespaces of the node's own."""

from __future__ import annotations

import subprocess
import sys

from kit import certificates, images, namespaces, network, node, place, processes
from kit.network import Node
from kit.place import Place


def main() -> int:
    where, own = place.read(sys.argv[1]), Node(int(sys.argv[2]))
    namespaces.private_mounts(where.node_state(own))
    namespaces.private_network(own, where.nodes)
    processes.wait_until("the API server", where.serving.exists)
    return processes.watch(start(where, own))


def start(where: Place, own: Node) -> dict[int, str]:
    """The programs of a node in this process's namespaces.

    :return: process ids and names.
    """
    state, server = where.node_state(own), f"https://{network.CONTROL_PLANE_IP}:{where.port}"
    certificates.write_kubeconfig(state / "kubelet.kubeconfig", pki=where.pki, client=f"kubelet-{own.name}", server=server)
    certificates.write_kubeconfig(state / "kube-proxy.kubeconfig", pki=where.pki, client=node.PROXY.file, server=server)
    for path, text in node.files(where, own).items():
        path.write_text(text)
    running = {processes.start("containerd", node.containerd(state), logs=state): "containerd"}
    processes.wait_until("containerd", lambda: subprocess.run(["ctr", "version"], capture_output=True, check=False).returncode == 0)
    images.write(state / "pause.tar", name=node.PAUSE, files={"pause": where.programs / "pause"}, entrypoint=["/pause"])
    subprocess.run(images.import_command(state / "pause.tar"), stdout=subprocess.DEVNULL, check=True)
    running[processes.start("kubelet", node.kubelet(where, own), logs=state)] = "kubelet"
    running[processes.start("kube-proxy", node.kube_proxy(where, own), logs=state)] = "kube-proxy"
    return running


if __name__ == "__main__":
    sys.exit(main())
