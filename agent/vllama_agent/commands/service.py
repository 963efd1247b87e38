"""`vllama service`: let launchd or systemd run `vllama serve` whenever its owner is logged in."""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vllama_agent.commands import output, service_plan, settings
from vllama_agent.services.base import Answer, Ask, Manager
from vllama_core.errors import ConfigError

ASK_SECONDS = 30.0
"""A manager answers at once; half a minute means that it hangs."""
NOT_RUNNING = 3
"""Exit status of `status`, as `systemctl status` has it. Linux Standard Base, init script actions."""
INSTALL = (
    "Write the service's file with the flags of `vllama serve` that are given here and the VLLAMA_* and OLLAMA_* variables that are set "
    "now, and start it. Secrets are not written: name a file of keys with --api-key-file. Again: replaces it."
)


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `service`."""
    made = argparse.ArgumentParser(prog=prog, description="Run the server as a service of yours.", allow_abbrev=False)
    actions = made.add_subparsers(dest="action", metavar="install|uninstall|status", required=True)
    install = actions.add_parser("install", help="start it now and at each login", description=INSTALL, allow_abbrev=False)
    install.add_argument("--print", action="store_true", dest="only_print", help="print the file instead")
    settings.add_flags(install)
    actions.add_parser("uninstall", help="stop it and remove its file", allow_abbrev=False)
    status = actions.add_parser("status", help=f"tell whether it runs (exit status {NOT_RUNNING}: no)", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print it as JSON")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Do it; the exit status.

    :raises ConfigError: the flags cannot work, or the service manager refuses.
    """
    home = Path.home()
    manager = service_plan.manager(system=sys.platform, home=home, uid=os.getuid(), environment=os.environ)
    match arguments.action:
        case "install":
            content = manager.render(service_plan.service(arguments, os.environ, python=sys.executable, folder=home))
            if os.environ.get("HF_TOKEN"):
                print("vllama: HF_TOKEN is a secret and is not written down; `hf auth login` keeps it in a file", file=sys.stderr)
            if arguments.only_print:
                print(content.decode(), end="")
                return 0
            return install(manager, content, ask)
        case "uninstall":
            return uninstall(manager, ask)
        case _:
            return tell(manager, ask, as_json=arguments.json)


def install(manager: Manager, content: bytes, ask: Ask) -> int:
    """Write the file and start the service."""
    manager.file.parent.mkdir(parents=True, exist_ok=True)
    scratch = manager.file.with_name(f".{manager.file.name}.new")
    scratch.write_bytes(content)
    os.replace(scratch, manager.file)
    about = manager.start(ask)
    print(f"{manager.file} is installed; {about}")
    return 0


def uninstall(manager: Manager, ask: Ask) -> int:
    """Stop the service and remove the file. Models and settings of its owner stay."""
    if not manager.file.exists():
        print(f"it is not installed: there is no {manager.file}")
        return 0
    manager.stop(ask)
    manager.file.unlink()
    manager.forget(ask)
    print(f"{manager.file} is removed; answers in the making may still finish")
    return 0


def tell(manager: Manager, ask: Ask, *, as_json: bool) -> int:
    """Print how it is."""
    installed = manager.file.exists()
    found = manager.status(ask) if installed else None
    if as_json:
        output.as_json({"file": str(manager.file), "installed": installed, "status": found and dataclasses.asdict(found)})
    elif not installed:
        print("not installed; `vllama service install` does it")
    else:
        words = "not loaded" if found is None else found.words + (f", process {found.pid}" if found.pid else "")
        print(f"{words} ({manager.file})")
    return 0 if found is not None and found.running else NOT_RUNNING


def ask(command: Sequence[str]) -> Answer:
    """Run a command of the service manager.

    :raises ConfigError: there is no such program, or it hangs.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ConfigError(f"there is no {command[0]} here; `vllama service install --print` prints the file for another manager") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{' '.join(command)} did not answer within {ASK_SECONDS:g} s") from None
    return Answer(done.returncode, done.stdout, done.stderr)
