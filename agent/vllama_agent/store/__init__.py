"""The models that this machine has: named ones under `$VLLAMA_HOME`, and files that `serve --model` was given."""

from vllama_agent.store.artifact import Artifact
from vllama_agent.store.store import Store

__all__ = ["Artifact", "Store"]
