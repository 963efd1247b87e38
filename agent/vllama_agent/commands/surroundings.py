"""What `vllama doctor` looks at beside hardware and engines: the store's folder, the address, device files, settings."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vllama_agent.commands import client, settings
from vllama_agent.hardware import drm
from vllama_core.address import Address
from vllama_core.config import AgentConfig
from vllama_core.diagnosis import Surroundings
from vllama_core.errors import ConfigError
from vllama_core.hardware import Machine


def look(machine: Machine, environment: Mapping[str, str] = os.environ) -> Surroundings:
    """All of it. Settings that cannot be read count as problems, and their defaults as given."""
    try:
        config, problem = settings.read(argparse.Namespace(model=[]), environment), None
    except ConfigError as error:
        config, problem = AgentConfig(), str(error)
    return Surroundings(
        settings=problem,
        address=f"{config.host or 'every interface'}, port {config.port}",
        listener=listener(config.host, config.port),
        home=str(config.home),
        unwritable=unwritable(config.home),
        disk_free=disk_free(config.home),
        closed=drm.closed({gpu.vendor for gpu in machine.accelerators if not gpu.unified}),
        cuda_order=environment.get("CUDA_DEVICE_ORDER"),
        python=sys.executable,
        engine=config.load.engine,
        gpu_layers=config.load.gpu_layers,
    )


def unwritable(home: Path) -> str | None:
    """Why nothing can be written to a folder, or made where it is to be; None: it can. A file is made and removed."""
    existing = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"{existing}: {error.strerror or error}"


def disk_free(home: Path) -> int | None:
    """Bytes free on the disk that a folder is on, or would be; None: the system does not tell."""
    try:
        return shutil.disk_usage(_existing(home)).free
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((here for here in (folder, *folder.parents) if here.is_dir()), Path("/"))


def listener(host: str, port: int) -> str | None:
    """Who listens where the server would: ``vllama``, ``Ollama``, ``another program``; None: nobody, or it is another machine's address."""
    if _is_free(host, port):
        return None
    try:
        _answer, headers = client.Client(Address(host=host, port=port)).exchange("GET", "/api/version")
    except (client.NoServer, client.ServerError):
        return "another program"
    return "vllama" if "x-vllama-version" in {name.lower() for name in headers} else "Ollama"


def _is_free(host: str, port: int) -> bool:
    """Whether nobody of this machine has the address, by taking it for a moment."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return True  # `serve` names it; here it is no listener
    family, kind, protocol, _name, where = found[0]
    with socket.socket(family, kind, protocol) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: closed connections that linger are no hindrance
        try:
            taken.bind(where)
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
