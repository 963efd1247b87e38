"""Settings of the operator: a YAML file, which the chart writes, and what only the pod itself knows, from its environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vllama_core import quantities
from vllama_core.errors import ConfigError
from vllama_operator import profiles
from vllama_operator.profiles import Profile

CONFIG_VARIABLE = "VLLAMA_OPERATOR_CONFIG"
HEALTH_VARIABLE = "VLLAMA_OPERATOR_HEALTH_PORT"
ACCESS_MODES = ("ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
PULL_POLICIES = ("IfNotPresent", "Always", "Never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of them. Seconds are seconds of the event loop's clock."""

    agent_image: str = "vllama:agent-cpu"
    """Image of pods whose LLMServe and profile name none."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets, which must be in each LLMServe's namespace."""
    profiles: Mapping[str, Profile] = field(default_factory=lambda: {profiles.DEFAULT: Profile()})
    clients: tuple[Mapping[str, Any], ...] = ({"podSelector": {}},)
    """Who may reach the agents: peers as a NetworkPolicy's `from` has them. Left alone, the pods of the LLMServe's namespace."""
    cache_access_mode: str = "ReadWriteMany"
    """Of the volumes that are made. All replicas read one volume, so anything else holds them on one node."""
    cache_bytes: int = 50 << 30
    """Size of a volume whose LLMServe names none."""
    plan_seconds: float = 60.0
    """For a plan. Without an answer by then its LLMServe is rolled out all the same: the image may be large, or the hub away."""
    start_seconds: int = 3600
    """Until a pod whose model is not loaded is started again, which continues its download. Large models take their time."""
    namespaces: tuple[str, ...] = ()
    """Whose LLMServes are served; none named = all."""
    own_namespace: str = "default"
    """Where the lease lies."""
    identity: str = "vllama-operator"
    """Among the replicas of the operator; the lease names it."""
    health_port: int = 8080
    """Where probes ask whether the process lives. 0 = nowhere."""
    lease_name: str = "vllama-operator"
    lease_duration: float = 10.0
    """After this long without a renewal another replica takes over."""
    renew_deadline: float = 6.0
    """After this long without a renewal this replica writes no more. A request that began before it has `request_timeout` to end, so
    that both together stay below `lease_duration`."""
    renew_period: float = 2.0
    """Between two renewals; several may fail before the deadline."""
    follow_period: float = 3.0
    """Between two looks of a replica that does not hold the lease. Both together make less than one request in a second, and the end of a
    holder is noticed within this and `lease_duration`."""
    request_timeout: float = 3.0
    """For one request; the API server answers in milliseconds, or has trouble and is asked again later."""
    workers: int = 8
    """LLMServes that are worked on at once: what waits is the API server's answer."""
    listen_seconds: float = 5.0
    """Between two looks at the log of a pod that is not ready, which tell how far its download is."""
    nodes_seconds: float = 600.0
    """Between two looks at how much memory the nodes' GPUs have."""
    resync_seconds: float = 600.0
    """Between two looks at everything, which find what a watch missed."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("it must be a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("it must be a list of texts")
    return tuple(value)


def _peers(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("it must be a list of peers as a NetworkPolicy's `from` has them")
    return tuple(value)


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return str(value)

    return read


def _seconds(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 10 <= value <= 7 * 86400:
        raise ValueError("it must be a whole number of seconds, from 10 to 604800")
    return value


def _bytes(value: Any) -> int:
    return quantities.parse_bytes(str(value))


_FILE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "agentImage": ("agent_image", _text),
    "imagePullPolicy": ("image_pull_policy", _one_of(*PULL_POLICIES)),
    "imagePullSecrets": ("image_pull_secrets", _texts),
    "clients": ("clients", _peers),
    "cacheAccessMode": ("cache_access_mode", _one_of(*ACCESS_MODES)),
    "cacheSize": ("cache_bytes", _bytes),
    "startSeconds": ("start_seconds", _seconds),
}
"""Name in the file: (field, how its value is read)."""


def parse(text: str, *, file: str) -> dict[str, Any]:
    """Fields of `Settings` that the file says.

    :raises ConfigError: names file, field, value and what is allowed.
    """
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must be a mapping; its fields are profiles, {', '.join(_FILE)}")
    found: dict[str, Any] = {}
    for name, value in document.items():
        if name == "profiles":
            found["profiles"] = profiles.parse(yaml.safe_dump(value), file=f"{file}: profiles")
        elif name in _FILE:
            field_name, read = _FILE[name]
            found[field_name] = _read(read, value, f"{file}: {name}")
        else:
            raise ConfigError(f"{file} has no field {name!r}; there are profiles, {', '.join(_FILE)}")
    return found


def _read(read: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(f"{where} is {value!r}: {error}") from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ConfigError(f"{HEALTH_VARIABLE} is {text!r}; it must be a port, or 0 for none")
    return int(text)


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    :raises ConfigError: the file cannot be read, or says what cannot be.
    """
    found: dict[str, Any] = {}
    path = environment.get(CONFIG_VARIABLE)
    if path:
        try:
            found = parse(Path(path).read_text(encoding="utf-8"), file=path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{CONFIG_VARIABLE} is {path!r}, which cannot be read: {error}") from error
    found["namespaces"] = tuple(name for name in environment.get("VLLAMA_OPERATOR_NAMESPACES", "").replace(",", " ").split() if name)
    found["own_namespace"] = environment.get("POD_NAMESPACE") or "default"
    found["health_port"] = _port(environment.get(HEALTH_VARIABLE, "8080"))
    found["identity"] = environment.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
    return Settings(**found)
