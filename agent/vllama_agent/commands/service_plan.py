"""Which service manager this system has, and what a service runs that is made from `serve`'s flags and variables."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

from vllama_agent.commands import settings, values
from vllama_agent.services.base import PATIENCE, Manager, Service
from vllama_agent.services.launchd import Launchd
from vllama_agent.services.systemd import Systemd
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

ALSO = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN_PATH", "XDG_CACHE_HOME")
"""Variables of the Hugging Face hub that say where things lie. Its token is none of them: it stays in the hub's own file."""


def manager(*, system: str, home: Path, uid: int, environment: Mapping[str, str]) -> Manager:
    """The system's own.

    :param system: as `sys.platform` says.
    :raises ConfigError: it has none that we know.
    """
    match system:
        case "darwin":
            return Launchd(home, uid)
        case "linux":
            return Systemd(home, environment)
        case _:
            raise ConfigError(f"`vllama service` knows launchd on macOS and systemd on Linux, but not this system ({system})")


def service(arguments: argparse.Namespace, environment: Mapping[str, str], *, python: str, folder: Path) -> Service:
    """What `vllama serve` with these flags, in this environment, would do; a service sees no shell's variables, so they are written down.

    :param python: the interpreter that has vllama.
    :param folder: where it will run; paths are made absolute, as it is another one than here.
    :raises ConfigError: `serve` would refuse them.
    """
    config = settings.read(arguments, environment)
    flags: list[str] = []
    for ref in config.models:
        flags += ["--model", str(Path(ref).expanduser().absolute()) if _is_path(ref) else ref]
    variables = {name: environment[name] for name in ALSO if environment.get(name)}
    for setting in settings.SETTINGS:
        source, text = settings.given(setting, arguments, environment)
        if text is None:
            continue
        if setting.parse is values.file:
            text = str(values.file(text).absolute())
        if source != setting.flag:
            variables[source] = text
        else:
            flags += [source] if setting.metavar is None else [source, text]
    command = (python, "-m", "vllama_agent", "serve", *flags)
    return Service(command=command, environment=variables, folder=folder, stop_seconds=stop_seconds(config))


def stop_seconds(config: AgentConfig) -> int:
    """Whole seconds that an end in order may take, and some more."""
    return math.ceil(config.drain_delay + config.drain_seconds) + PATIENCE


def _is_path(ref: str) -> bool:
    return ref.startswith((".", "~", "/")) or Path(ref).exists()
