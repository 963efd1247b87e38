"""Which of the agent's variables its children see: one rule for all of them. Pure.

A child reads strangers' files and runs strangers' templates, and vLLM and MLX are strangers' programs. They load what the agent has
fetched, so that they need neither token nor key. A child that does need a secret is given it by name.
"""

from __future__ import annotations

from collections.abc import Mapping

SECRETS = frozenset(
    {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLAMA_API_KEY", "OLLAMA_API_KEY", "VLLM_API_KEY"}
    | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
)
INTERPRETER = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
"""What leads another interpreter to our packages."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
"""A model is here before it is loaded: a hub that is not reachable must not delay the start, and the token that a person saved in a file
is not read."""


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child with our own interpreter sees."""
    return {name: value for name, value in environment.items() if name not in SECRETS}


def of_another_program(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program with an interpreter of its own sees, which loads a model that is here."""
    return {**OFFLINE, **{name: value for name, value in without_secrets(environment).items() if name not in INTERPRETER}}
