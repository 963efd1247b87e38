"""From the flags of `vllama cluster deploy` to an LLMServe. Pure."""

from __future__ import annotations

import argparse
import re
from typing import Any

import yaml

from vllama_core.errors import ConfigError
from vllama_operator import names, spec

LONGEST_NAME = 45
"""Characters of an LLMServe's name, by a rule of its definition."""
FLAGS = (
    ("--replicas", "N", "pods that serve it (1)"),
    ("--profile", "NAME", "a profile of the chart's, for GPUs and kinds of nodes"),
    ("--quantization", "NAME", "such as Q4_K_M or Q8_0"),
    ("--context-length", "TOKENS", "of prompt and answer together"),
    ("--memory", "SIZE", "of a replica, such as 8Gi"),
    ("--cpu", "N", "of a replica, such as 4 or 1500m"),
    ("--gpus", "N", "of a replica"),
    ("--claim", "NAME", "a volume claim that exists, for the model's files"),
    ("--cache-size", "SIZE", "of the volume that is made for them"),
    ("--token-secret", "NAME[/KEY]", "a Secret with the token for the model's source"),
    ("--key-secret", "NAME[/KEY]", "a Secret with the keys that requests must bear"),
)
"""(flag, what follows it, what it is)"""
_WHOLE = ("replicas", "context_length", "gpus")


def of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The LLMServe, with nothing in it that was not asked for.

    :raises ConfigError: a flag cannot be.
    :raises SpecError: the whole cannot be.
    """
    given = {flag[2:].replace("-", "_"): getattr(arguments, flag[2:].replace("-", "_")) for flag, _, _ in FLAGS}
    given |= {name: _whole(name, given[name]) for name in _WHOLE if given[name] is not None}
    model = _present(source=arguments.model, quantization=given["quantization"], secretRef=_secret(given["token_secret"]))
    resources = _present(memory=given["memory"], cpu=given["cpu"], count=given["gpus"], contextLength=given["context_length"])
    cache = _present(mode="Ephemeral" if arguments.ephemeral else None, claimName=given["claim"], size=given["cache_size"])
    wanted = _present(
        model=model,
        profile=given["profile"],
        resources=resources,
        replicas=given["replicas"],
        cache=cache,
        api=_present(keySecretRef=_secret(given["key_secret"])),
    )
    metadata = _present(name=arguments.name or name_of(arguments.model), namespace=arguments.namespace)
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": wanted}
    spec.parse({**body, "metadata": {"namespace": "", "uid": "", **metadata}})  # what is wrong is told without a cluster
    return body


def name_of(model: str) -> str:
    """A name for an LLMServe of a model: the last part of the model's, in the letters that Kubernetes takes.

    :raises ConfigError: nothing of it can be in a name.
    """
    last = model.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".gguf")
    name = re.sub(r"[^a-z0-9]+", "-", last.lower())[:LONGEST_NAME].strip("-")
    if not name:
        raise ConfigError(f"no name can be made from {model!r}; give one by --name")
    return name


def text(body: dict[str, Any]) -> str:
    """As YAML."""
    return yaml.safe_dump(body, sort_keys=False)


def _present(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, {})}


def _whole(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ConfigError(f"--{name.replace('_', '-')} is {value!r}; it must be a whole number")
    return int(value)


def _secret(given: str | None) -> dict[str, str] | None:
    if given is None:
        return None
    name, _, key = given.partition("/")
    return {"name": name} | ({"key": key} if key else {})
