"""Credentials for registries, where `docker login`, `podman login` or a mounted pull secret left them. It blocks.

Pure but for reading these files and asking a credential helper. https://docs.docker.com/reference/cli/docker/login/,
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllama_core.errors import ConfigError
from vllama_core.storageref import DOCKER_HUB

HELPER_SECONDS = 20.0
"""A helper may ask a key chain or a cloud for a token; one that asks a person would wait for ever."""
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker Hub is called in these files."""
TOKEN_USER = "<token>"
"""The user name with which a helper says that the secret is an identity token."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a registry knows its client by.

    :ivar identity_token: in place of name and password: changed for a token of the registry's own.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find(registry: str, environment: Mapping[str, str]) -> Key | None:
    """The first one that is known for a registry.

    :raises ConfigError: a file is there and cannot be read, or a helper that it names cannot be run.
    """
    for path in _files(environment):
        key = _in_file(path, registry)
        if key is not None:
            return key
    return None


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(environment.get("DOCKER_CONFIG") or Path(environment.get("HOME", "~")).expanduser() / ".docker") / "config.json"


def _in_file(path: Path, registry: str) -> Key | None:
    try:
        config = json.loads(path.read_text())
        auths = config.get("auths") or {}
        helpers, store = config.get("credHelpers") or {}, config.get("credsStore")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of registry credentials: {type(error).__name__}") from None
    names = [registry, f"https://{registry}", *([DOCKER_HUB_KEY, "index.docker.io"] if registry == DOCKER_HUB else [])]
    for name in names:
        if helper := helpers.get(name) or (store if name in auths else None):
            key = _of_helper(helper, name, path)
        else:
            key = _of_entry(auths.get(name), path, name)
        if key is not None:
            return key
    return None


def _of_entry(entry: Any, path: Path, name: str) -> Key | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Key(identity_token=str(entry["identitytoken"]))
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except ValueError:
            raise ConfigError(f"{path}: the entry of {name} holds no user name and password; log in to it again") from None
        return Key(user, password.rstrip("\0"))
    return Key(str(entry["username"]), str(entry.get("password", ""))) if entry.get("username") else None


def _of_helper(helper: str, name: str, path: Path) -> Key | None:
    """https://github.com/docker/docker-credential-helpers#development; None: it has none for this registry."""
    program = f"docker-credential-{helper}"
    if not helper.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"{path} names {helper!r}, which is no credential helper")
    try:
        done = subprocess.run([program, "get"], input=name, capture_output=True, text=True, timeout=HELPER_SECONDS, check=False)
        if done.returncode != 0:
            return None
        told = json.loads(done.stdout)
        user, secret = str(told["Username"]), str(told["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{program}, which {path} names for {name}, cannot be used: {type(error).__name__}") from None
    return Key(identity_token=secret) if user == TOKEN_USER else Key(user, secret)
