"""How much room a model has, and its sizing for it.

A model is sized for what would be left if all that may go for it went. But a larger pool of cells alone is no reason for anybody to go:
where it serves as well beside all the others, it gets what they leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vllama_agent.hardware import cpu
from vllama_agent.pool import budget, needs
from vllama_agent.pool.budget import Budget, Need, Occupant, Use
from vllama_agent.pool.models import Artifact
from vllama_agent.pool.needs import Sized
from vllama_agent.pool.settings import Settings
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed, UnreadableModel
from vllama_core.hardware import Accelerator
from vllama_core.model_form import Form
from vllama_core.sizing.budget import HOST_SHARE
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import ModelShape


def no_accelerators(config: LoadConfig, form: Form) -> Sequence[Accelerator]:
    """Of a machine without any."""
    return ()


def for_llama_cpp(shape: ModelShape, config: LoadConfig, room: Room, form: Form) -> Sized:
    """Where it is the only engine."""
    return needs.sized(shape, config, room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What sizing sees of the machine.

    :ivar free: bytes of its memory that may be taken now.
    :ivar accelerators: those that a model in this form, with such settings, is put on.
    :ivar size: what a model in this form is loaded with in a room, by the engine that loads it.
    :ivar prefers: the form of which most models are.
    """

    free: Callable[[], int] = cpu.available_memory
    accelerators: Callable[[LoadConfig, Form], Sequence[Accelerator]] = no_accelerators
    size: Callable[[ModelShape, LoadConfig, Room, Form], Sized] = for_llama_cpp
    prefers: Form = Form.GGUF

    def room(self, config: LoadConfig, form: Form, *, host: int) -> Room:
        """With all of the GPUs.

        :param host: bytes of the machine's memory that may be filled.
        """
        found = [accelerator for accelerator in self.accelerators(config, form) if accelerator.usable]
        unified = any(accelerator.unified for accelerator in found)
        devices = Room(host=0, devices=tuple(accelerator.usable for accelerator in found), unified=unified).usable_devices
        return Room(host=host, devices=devices, unified=unified, whole=True)


class Rooms:
    """Sizes models within the budget, for what others leave."""

    def __init__(self, limit: Budget, settings: Settings, surroundings: Surroundings) -> None:
        self._limit = limit
        self._settings = settings
        self._surroundings = surroundings

    def sized(self, artifact: Artifact, config: LoadConfig, others: Sequence[Occupant], *, polite: bool = False) -> Sized:
        """What it is loaded with.

        :param others: those that have or will have memory, without it.
        :param polite: nobody is to go for it.
        :raises EngineFailed: its files cannot be read, or its settings contradict each other.
        """
        staying = [other for other in others if other.use is not Use.LEAVING]
        pinned = [other for other in staying if other.use is Use.PINNED]
        beside_all = self._for(artifact, config, beside=staying, going=())
        if polite or len(pinned) == len(staying):
            return beside_all
        beside_pinned = self._for(artifact, config, beside=pinned, going=[other for other in staying if other not in pinned])
        return beside_all if beside_all.fits and needs.same_service(beside_all, beside_pinned) else beside_pinned

    def _for(self, artifact: Artifact, config: LoadConfig, *, beside: Sequence[Occupant], going: Sequence[Occupant]) -> Sized:
        said = self._settings.memory(artifact)
        taken = budget.total(beside)
        host = int(self._surroundings.free() * HOST_SHARE) + budget.total(going).bytes
        if self._limit.bytes is not None:
            host = min(host, self._limit.bytes - taken.bytes)
        whole = self._surroundings.room(config, artifact.form, host=max(0, host if said is None else min(host, said)))
        made = self._surroundings.size(_shape_of(artifact), config, _without(whole, taken.gpu), artifact.form)
        return made if said is None else replace(made, need=Need(bytes=said, gpu=made.need.gpu))


def _without(room: Room, taken: int) -> Room:
    """What is taken lies on all GPUs alike."""
    if not room.devices:
        return room
    each = -(-taken // len(room.devices))
    return replace(room, devices=tuple(max(0, device - each) for device in room.devices))


def _shape_of(artifact: Artifact) -> ModelShape:
    try:
        return artifact.shape
    except (UnreadableModel, OSError) as error:
        raise EngineFailed(f"{artifact.name} cannot be loaded: {error}") from error
