"""`vllama version`: of this command and of the server."""

from __future__ import annotations

import argparse

from vllama_agent.commands import client, output


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `version`."""
    made = argparse.ArgumentParser(prog=prog, description="Print the versions of this command and of the server.", allow_abbrev=False)
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """The command's version is printed also when no server answers."""
    versions = {"vllama": own_version()} | _server()
    if arguments.json:
        output.as_json(versions)
        return 0
    print(f"vllama version is {versions['vllama']}")
    if "ollama" not in versions:
        print("no server answers")
    elif "server" in versions:
        print(f"the server is vllama {versions['server']}, at the level of Ollama {versions['ollama']}")
    else:
        print(f"the server is Ollama {versions['ollama']}")
    return 0


def own_version() -> str:
    """The installed distribution's."""
    from importlib import metadata

    try:
        return metadata.version("vllama-serve")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _server() -> dict[str, str]:
    try:
        answer, headers = client.from_environment().exchange("GET", "/api/version")
    except (client.NoServer, client.ServerError):
        return {}
    own = {name.lower(): value for name, value in headers.items()}.get("x-vllama-version")
    return {"ollama": str(answer.get("version", "unknown"))} | ({"server": own} if own else {})
