"""`vllama cluster`: its verbs and flags. What needs a cluster is imported when one is asked for."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from vllama_operator.commands import manifest

PORT = 11434
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `cluster` and its verbs."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Serve models in a Kubernetes cluster where vllama's operator runs, as the current context of kubectl names it.",
        allow_abbrev=False,
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (_deploy, _list, _logs, _port_forward, _delete):
        add(verbs)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says; the exit status."""
    if arguments.verb == "deploy":
        body = manifest.of(arguments)
        if arguments.dry_run:
            print(manifest.text(body), end="")
            return 0
    from vllama_operator.commands import verbs

    return verbs.run(arguments)


def _verb(verbs: Verbs, name: str, what: str) -> argparse.ArgumentParser:
    made = verbs.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False)
    made.add_argument("-n", "--namespace", help="the namespace (the context's)")
    made.add_argument("--kube-context", metavar="NAME", help="a context of the kubeconfig (the current one)")
    return made


def _deploy(verbs: Verbs) -> None:
    made = _verb(verbs, "deploy", "serve a model, or change how it is served")
    made.add_argument("model", help='such as qwen3:0.6b, org/repo, "s3://bucket/folder/" or pvc://claim/folder')
    made.add_argument("--name", help="of the LLMServe (made from the model's)")
    for flag, metavar, what in manifest.FLAGS:
        made.add_argument(flag, metavar=metavar, help=what)
    made.add_argument("--ephemeral", action="store_true", help="each pod fetches the model for itself, into no volume")
    made.add_argument("--dry-run", action="store_true", help="print the LLMServe, for `kubectl apply -f -`, and ask no cluster")


def _list(verbs: Verbs) -> None:
    made = _verb(verbs, "list", "list the models that are served")
    made.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    made.add_argument("--json", action="store_true", help="print the LLMServes as JSON")


def _logs(verbs: Verbs) -> None:
    made = _verb(verbs, "logs", "print the log of a pod that serves a model, or else of the Job that prepares it")
    made.add_argument("name", help="of the LLMServe")
    made.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    made.add_argument("--tail", type=int, default=100, metavar="LINES", help="begin with the last lines (100)")


def _port_forward(verbs: Verbs) -> None:
    made = _verb(verbs, "port-forward", "answer on this machine for a model in the cluster")
    made.add_argument("name", help="of the LLMServe")
    made.add_argument("--port", type=int, default=PORT, help=f"on 127.0.0.1; 0: any ({PORT})")


def _delete(verbs: Verbs) -> None:
    made = _verb(verbs, "delete", "serve a model no longer; its volume goes too, unless it was there before")
    made.add_argument("names", nargs="+", metavar="name", help="of the LLMServe")
