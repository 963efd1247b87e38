"""What the agent has to know of a kind of engine: how it is found, how a model is sized for it, how one is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.engines.base import Engine
from vllama_agent.engines.llama_cpp.spares import Spares
from vllama_agent.pool.models import Artifact
from vllama_agent.pool.needs import Sized
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.engine_build import FORMS, Build, EngineName
from vllama_core.engine_choice import Choice
from vllama_core.model_form import Form
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An engine to be made.

    :ivar artifact: in the form that the kind loads.
    :ivar settings: what the kind's own `size` decided.
    :ivar choice: what it is to run on, and why.
    :ivar agent: load timeout, home and the like.
    :ivar spares: processes that wait for work, of the kind that has such.
    """

    artifact: Artifact
    settings: LoadConfig
    choice: Choice
    agent: AgentConfig
    spares: Spares


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of engine. Its functions import the engine's own modules when they are called, so that a command pays for none.

    :ivar build: what of it is installed, by the home; neither imports nor loads anything of the engine itself.
    :ivar size: settings with every size decided, and what that takes.
    :ivar make: an engine; nothing is started by it.
    """

    name: EngineName
    build: Callable[[Path], Build]
    size: Callable[[ModelShape, LoadConfig, Room], Sized]
    make: Callable[[Order], Engine]

    @property
    def form(self) -> Form:
        """The form of a model that it loads."""
        return FORMS[self.name]
