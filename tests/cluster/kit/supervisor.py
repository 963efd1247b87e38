"""The process whose children are a cluster's programs: `python -m kit.supervisor FIELDS [LISTENER]`.

It ends, and with it everything, when its standard input does: a test run that is killed leaves no API server behind. Nothing here is
worth an orderly end, for which an API server takes a minute. With nodes it is the first process of the cluster's namespaces, and
LISTENER the number of a socket that was made outside of them.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from typing import Any

from kit import certificates, control_plane, dns, forwarding, namespaces, node, node_supervisor, place, processes
from kit.network import Node
from kit.place import Place


def main() -> int:
    where = place.read(sys.argv[1])
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    running: dict[int, str] = {}
    if where.nodes:
        namespaces.private_mounts(where.node_state(where.nodes[0]))
        namespaces.private_network(where.nodes[0], where.nodes)
        # before there are pods here, whose mounts they would keep copies of
        running = {_start_further(where, each): each.name for each in where.nodes[1:]}
    further = frozenset(running.values())
    running |= _start_control_plane(where)
    if where.nodes:
        listener = socket.socket(fileno=int(sys.argv[2]))
        threading.Thread(target=forwarding.forward, args=(listener, where.port), daemon=True).start()
        running |= _start_nodes(where)
    where.ready.touch()
    return processes.watch(running, may_end=further)


def _start_control_plane(where: Place) -> dict[int, str]:
    """:return: process ids and names."""
    certificates.make(where.pki, control_plane.certificates(where))
    for client in control_plane.CLIENTS:
        certificates.write_kubeconfig(where.kubeconfig(client.file), pki=where.pki, client=client.file, server=where.server)
    (where.state / "audit-policy.json").write_text(json.dumps(control_plane.AUDIT_POLICY))
    running = {processes.start("etcd", control_plane.etcd(where), logs=where.state): "etcd"}
    running[processes.start("kube-apiserver", control_plane.api_server(where), logs=where.state)] = "kube-apiserver"
    processes.wait_until("the API server", lambda: _get(where, "/readyz") == b"ok")
    return running | {processes.start(name, command, logs=where.state): name for name, command in control_plane.controllers(where).items()}


def _start_further(where: Place, other: Node) -> int:
    namespaces.join(other)
    groups = namespaces.make_cgroups(other.name)
    command = [
        *("nsenter", f"--net=/run/netns/{other.name}", *namespaces.UNSHARE),
        *(sys.executable, "-m", "kit.node_supervisor", sys.argv[1], str(other.number)),
    ]
    pid = processes.start(other.name, command, logs=where.state, first=namespaces.entering(groups))
    where.node_pid(other.name).write_text(str(pid))
    return pid


def _start_nodes(where: Place) -> dict[int, str]:
    """What they need of the API server, as kubeadm makes it, the DNS, and the first node's programs."""
    made = [*dns.objects(), dns.binding("kube-proxy", role="system:node-proxier", user=node.PROXY.user), *map(_node_object, where.nodes)]
    command = [str(where.programs / "kubectl"), f"--kubeconfig={where.kubeconfig('admin')}", "create", "-f", "-"]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    subprocess.run(command, input=items, text=True, stdout=subprocess.DEVNULL, check=True)
    where.serving.touch()
    (where.state / "Corefile").write_text(dns.corefile(where))
    running = {processes.start("coredns", dns.coredns(where), logs=where.state): "coredns"}
    running |= node_supervisor.start(where, where.nodes[0])
    processes.wait_until("the DNS server", _dns_is_ready)
    processes.wait_until("the nodes", lambda: _are_ready(json.loads(_get(where, "/api/v1/nodes"))["items"]))
    return running


def _node_object(each: Node) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": each.name}, "spec": {"podCIDR": each.pods, "podCIDRs": [each.pods]}}


def _are_ready(nodes: list[dict[str, Any]]) -> bool:
    conditions = [each["status"].get("conditions", []) for each in nodes]
    return all(any(c["type"] == "Ready" and c["status"] == "True" for c in each) for each in conditions)


def _dns_is_ready() -> bool:
    with urllib.request.urlopen(dns.READY, timeout=10) as answer:
        return bool(answer.status == 200)


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _get(where: Place, path: str) -> bytes:
    context = ssl.create_default_context(cafile=where.pki / "ca.crt")
    context.load_cert_chain(where.pki / "admin.crt", where.pki / "admin.key")
    with urllib.request.urlopen(f"{where.server}{path}", context=context, timeout=10) as answer:
        found: bytes = answer.read()
        return found


if __name__ == "__main__":
    sys.exit(main())
