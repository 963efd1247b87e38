"""What the verbs of `vllama cluster` do in a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vllama_core import human
from vllama_core.errors import ModelNotFound, VllamaError
from vllama_operator import failures, names, pods
from vllama_operator.commands import access, forward, manifest
from vllama_operator.commands.access import Access
from vllama_operator.errors import NotThere

Json = Mapping[str, Any]
MANAGER = "vllama"
"""Field manager of what people write: not the operator's, which would take their fields for its own."""


def run(arguments: argparse.Namespace) -> int:
    """Connect, and do it; the exit status."""
    asyncio.run(_run(arguments))
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    async with access.connected(context=arguments.kube_context, namespace=arguments.namespace) as to:
        match arguments.verb:
            case "deploy":
                await deploy(to, manifest.of(arguments))
            case "list":
                await show(to, everywhere=arguments.all_namespaces, as_json=arguments.json)
            case "logs":
                await logs(to, arguments.name, follow=arguments.follow, lines=arguments.tail)
            case "port-forward":
                await port_forward(to, arguments.name, port=arguments.port)
            case "delete":
                for name in arguments.names:
                    await delete(to, name)


async def deploy(to: Access, body: dict[str, Any]) -> None:
    """Make an LLMServe, or change one."""
    body["metadata"]["namespace"] = to.namespace
    made = await to.cluster.apply(body, manager=MANAGER)
    name = made["metadata"]["name"]
    print(f"LLMServe {name} in namespace {to.namespace} is to be served; `vllama cluster list -n {to.namespace}` tells how far it is")


async def show(to: Access, *, everywhere: bool, as_json: bool) -> None:
    """Print a table of LLMServes, or all of them."""
    found = await to.cluster.list_all(names.KIND, () if everywhere else (to.namespace,))
    if as_json:
        print(json.dumps(found))
        return
    rows = [("NAMESPACE", "NAME", "PHASE", "MODEL", "REPLICAS", "URL", "CREATED"), *(_row(each, datetime.now(UTC)) for each in found)]
    print(table(rows if everywhere else [row[1:] for row in rows]), end="")


def _row(serve: Json, now: datetime) -> tuple[str, ...]:
    metadata, status = serve["metadata"], serve.get("status") or {}
    wanted = serve["spec"].get("replicas", 1)
    since = now - datetime.fromisoformat(metadata["creationTimestamp"])
    return (
        metadata["namespace"],
        metadata["name"],
        status.get("phase") or "-",
        serve["spec"]["model"]["source"],
        f"{status.get('readyReplicas', 0)}/{wanted}",
        status.get("url") or "-",
        human.relative(since.total_seconds()),
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("    ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


async def logs(to: Access, name: str, *, follow: bool, lines: int) -> None:
    """Print the log of the newest pod."""
    pod = await _pod(to, name)
    async for chunk in to.cluster.follow(pod, container=pods.AGENT, lines=lines, follow=follow):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


async def port_forward(to: Access, name: str, *, port: int) -> None:
    """Pass connections on until interrupted."""

    async def choose() -> tuple[str, str]:
        pod = await _pod(to, name, ready=True)
        return pod["metadata"]["namespace"], pod["metadata"]["name"]

    await choose()  # what cannot be is told before anybody connects
    async with forward.listening(to.configuration, choose=choose, target=pods.PORT, port=port) as got:
        print(f"http://127.0.0.1:{got} leads to {name} in namespace {to.namespace}, until you press Ctrl+C", flush=True)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()


async def delete(to: Access, name: str) -> None:
    """Remove an LLMServe; the cluster collects what belongs to it."""
    await to.cluster.delete(await _serve(to, name))
    print(f"LLMServe {name} in namespace {to.namespace} is deleted")


async def _serve(to: Access, name: str) -> Json:
    try:
        return await to.cluster.get(names.KIND, namespace=to.namespace, name=name)
    except NotThere as error:
        raise ModelNotFound(name, f"namespace {to.namespace} has no LLMServe of that name; `vllama cluster list -A` lists all") from error


async def _pod(to: Access, name: str, *, ready: bool = False) -> Json:
    """The newest pod that serves, else the newest one.

    :param ready: one that serves it must be.
    :raises VllamaError: there is none.
    """
    serve = await _serve(to, name)
    found = await to.cluster.list_all("Pod", (to.namespace,), selector=f"{names.SERVE_LABEL}={name}")
    found.sort(
        key=lambda pod: (failures.is_ready(pod), names.JOB_LABEL not in pod["metadata"]["labels"], pod["metadata"]["creationTimestamp"])
    )
    if not found or (ready and not failures.is_ready(found[-1])):
        why = failures.condition_of(serve, "Ready").get("message") or "the operator has not looked at it yet"
        raise VllamaError(f"no pod of {name} {'answers' if found else 'is there'}: {why}")
    return found[-1]
