"""What a model is loaded with, and what that takes: both out of one sizing, by its shape and the room that there is for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vllama_agent.pool.budget import Need
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed
from vllama_core.sizing import choice
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A model's settings with every size decided.

    :ivar config: what the engine is loaded with: context, cells and parallel are numbers.
    :ivar need: what that takes by the arithmetic.
    :ivar fits: whether it fits the room; if not, it is the least, and is tried all the same: the arithmetic may err, and a file that is
        larger than memory still runs, if slowly.
    :ivar unified: the GPU's memory is the machine's own.
    :ivar told: a sentence for the log.
    """

    config: LoadConfig
    need: Need
    fits: bool
    unified: bool
    told: str


def sized(shape: ModelShape, config: LoadConfig, room: Room) -> Sized:
    """The most that fits the room, with what the settings say.

    :raises EngineFailed: the settings contradict each other.
    """
    chosen = choice.llama_cpp_choice(shape, wanted_of(config), room)
    settings, estimate = chosen.settings, chosen.estimate
    if settings.cells < settings.context:
        raise EngineFailed(
            f"--kv-cells {settings.cells} is less than --ctx-size {settings.context}: no request could use its whole context"
        )
    unsure = "" if chosen.fits else "it may not fit: "
    return Sized(
        config=replace(
            config,
            ctx_size=settings.context,
            kv_cells=settings.cells,
            parallel=settings.parallel,
            gpu_layers=settings.gpu_layers if room.devices else config.gpu_layers,
        ),
        need=Need(bytes=estimate.total if room.unified else estimate.host, gpu=estimate.device),
        fits=chosen.fits,
        unified=room.unified,
        told=f"context {settings.context}, {settings.parallel} sequences, {settings.cells} KV cells: {unsure}{chosen.reason}",
    )


def wanted_of(config: LoadConfig) -> choice.Wanted:
    """What the settings ask for; the rest is chosen."""
    return choice.Wanted(
        context=config.ctx_size,
        cells=config.kv_cells,
        parallel=config.parallel,
        gpu_layers=None if config.gpu_layers < 0 else config.gpu_layers,
        ubatch=min(config.ubatch_size, config.batch_size),
        cache_type_k=config.cache_type_k,
        cache_type_v=config.cache_type_v,
        flash_attention=config.flash_attn != "off",
        mmap=config.mmap,
    )


def same_service(one: Sized, other: Sized) -> bool:
    """Whether both do the same for a request: they differ at most in how many tokens they keep for later ones."""
    return (one.config.ctx_size, one.config.parallel, one.config.gpu_layers) == (
        other.config.ctx_size,
        other.config.parallel,
        other.config.gpu_layers,
    )
