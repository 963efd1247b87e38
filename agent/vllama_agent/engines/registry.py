"""The engines of this version of vllama, a row for each. What nobody can run here takes no part in any choice."""

from __future__ import annotations

from pathlib import Path

from vllama_agent.engines.kinds import Kind
from vllama_agent.engines.llama_cpp.kind import LLAMA_CPP
from vllama_agent.engines.mlx.kind import MLX
from vllama_agent.engines.vllm.kind import VLLM
from vllama_core.engine_build import Build, EngineName

KINDS: tuple[Kind, ...] = (LLAMA_CPP, VLLM, MLX)


def kind_of(name: EngineName) -> Kind:
    """The row of an engine that was chosen, and so is here."""
    return next(kind for kind in KINDS if kind.name is name)


def builds(home: Path) -> tuple[Build, ...]:
    """All of them, installed or not.

    :param home: `$VLLAMA_HOME`, which has the environments of some.
    """
    return tuple(kind.build(home) for kind in KINDS)
