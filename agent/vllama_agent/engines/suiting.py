"""Each model's engine: chosen for model and machine, sized and made by its kind."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllama_agent.engines import registry
from vllama_agent.engines.base import Engine
from vllama_agent.engines.kinds import Order
from vllama_agent.engines.llama_cpp.spares import Spares
from vllama_agent.pool.models import Artifact
from vllama_agent.pool.needs import Sized
from vllama_core import engine_choice
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.engine_build import Build, EngineName
from vllama_core.engine_choice import Choice, Formats
from vllama_core.hardware import Accelerator, Machine
from vllama_core.model_form import Form
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import ModelShape

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engines:
    """What an agent asks of all its engines together.

    :ivar builds: of `registry.builds`.
    :ivar spares: processes of llama.cpp that wait, if the agent has some.
    """

    config: AgentConfig
    machine: Machine
    builds: tuple[Build, ...]
    spares: Spares = field(default_factory=Spares)

    @property
    def prefers(self) -> Form:
        """The form in which a model is best fetched, and meant where it is here in both."""
        return engine_choice.preferred_form(
            self.machine, self.builds, asked=self.config.load.engine, gpu_layers=self.config.load.gpu_layers
        )

    def accelerators(self, settings: LoadConfig, form: Form) -> Sequence[Accelerator]:
        """What a model is put on.

        :raises ConfigError: no engine here loads this form.
        """
        return self._choice(settings, form).accelerators

    def size(self, shape: ModelShape, settings: LoadConfig, room: Room, form: Form) -> Sized:
        """What a model is loaded with. Errors as `accelerators`.

        :raises EngineFailed: the settings contradict each other.
        """
        return registry.kind_of(self._choice(settings, form).engine).size(shape, settings, room)

    def make(self, artifact: Artifact, settings: LoadConfig) -> Engine:
        """A model's engine, not started. Errors as `accelerators`.

        :param settings: with every size decided.
        """
        choice = self._choice(settings, artifact.form)
        log.info("engine: %s, because %s", choice.engine, choice.reason, extra={"model": artifact.name, "backend": choice.backend})
        for warning in choice.warnings:
            log.warning("%s", warning, extra={"model": artifact.name})
        if settings.engine_args and choice.engine is not EngineName.VLLM:
            unused = " ".join(settings.engine_args)
            log.warning("%s runs it, so vLLM's arguments change nothing: %s", choice.engine, unused, extra={"model": artifact.name})
        return registry.kind_of(choice.engine).make(
            Order(artifact=artifact, settings=settings, choice=choice, agent=self.config, spares=self.spares)
        )

    def _choice(self, settings: LoadConfig, form: Form) -> Choice:
        return engine_choice.choose(
            Formats.only(form),
            self.machine,
            self.builds,
            asked=settings.engine,
            gpu_layers=settings.gpu_layers,
            python=sys.executable,
        )
