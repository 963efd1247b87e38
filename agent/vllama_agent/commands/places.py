"""The stores that commands look into without asking a server."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vllama_agent.commands import settings
from vllama_agent.store.layers import Layers
from vllama_core.config import AgentConfig


def layers(environment: Mapping[str, str] = os.environ) -> Layers:
    """What VLLAMA_HOME and VLLAMA_STORES name.

    :raises ConfigError: one of them holds nothing that can be used.
    """
    return Layers(settings.one("home", environment) or AgentConfig().home, settings.one("stores", environment) or ())
