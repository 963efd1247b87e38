"""Profiles: what the cluster's owner says once about a kind of node, and users choose by `spec.profile`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from vllama_core.errors import ConfigError

AUTO = "auto"
"""Of an LLMServe's choices: ours."""
DEFAULT = "default"
"""The profile of an LLMServe that names none; empty unless the chart says something."""
RESOURCE_NAMES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/i915"}
"""What the vendors' device plugins call their GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What pods of this profile get beside what their LLMServe says.

    :ivar accelerator: cpu, nvidia, amd or intel.
    :ivar resource_name: what a GPU is called; None: by the accelerator.
    :ivar resources: `requests` and `limits` where the LLMServe names none.
    """

    accelerator: str = "cpu"
    image: str | None = None
    resource_name: str | None = None
    runtime_class: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def accelerator_of(self, asked: str) -> str:
        """What an LLMServe runs on here.

        :param asked: its `spec.resources.accelerator`.
        """
        return self.accelerator if asked == AUTO else asked


_FIELDS = {
    "accelerator": ("accelerator", str),
    "image": ("image", str),
    "resourceName": ("resource_name", str),
    "runtimeClassName": ("runtime_class", str),
    "nodeSelector": ("node_selector", dict),
    "tolerations": ("tolerations", list),
    "resources": ("resources", dict),
}
"""Name in the file: (field, type)."""


def parse(text: str, *, file: str) -> dict[str, Profile]:
    """The profiles of a YAML document: a mapping from names to fields.

    :param file: what errors call it.
    :raises ConfigError: names file, profile and field.
    """
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must map names of profiles to their fields")
    found = {str(name): _profile(fields or {}, f"{file}: profile {name}") for name, fields in document.items()}
    return {DEFAULT: Profile()} | found


def _profile(fields: Any, where: str) -> Profile:
    if not isinstance(fields, dict):
        raise ConfigError(f"{where} must be a mapping of {', '.join(_FIELDS)}")
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _FIELDS:
            raise ConfigError(f"{where} has no field {name}; there are {', '.join(_FIELDS)}")
        field_name, kind = _FIELDS[name]
        if value is None:
            continue
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {name} is {value!r}; it must be a {kind.__name__}")
        values[field_name] = tuple(value) if kind is list else value
    if values.get("accelerator", "cpu") not in ("cpu", *RESOURCE_NAMES):
        raise ConfigError(f"{where}: accelerator is {values['accelerator']!r}; it must be one of cpu, {', '.join(RESOURCE_NAMES)}")
    return Profile(**values)
