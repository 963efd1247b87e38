"""vLLM as a kind of engine: it has an interpreter of its own and loads a folder in Hugging Face's format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vllama_agent.engines.base import Engine
from vllama_agent.engines.kinds import Kind, Order
from vllama_agent.engines.vllm import version
from vllama_agent.engines.vllm.arguments import OnCpu, Settings
from vllama_agent.hardware import cpu
from vllama_agent.pool import needs
from vllama_agent.pool.budget import Need
from vllama_agent.pool.needs import Sized
from vllama_core.config import LoadConfig
from vllama_core.engine_build import Build, EngineName
from vllama_core.errors import EngineFailed
from vllama_core.sizing import choice, vllm
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import GIB, ModelShape

CPU_HOST = 3 * GIB
"""What its processes take on a machine without GPUs, beside weights and cache: measured with a model of two layers."""
CPU_SEQUENCES = 64
WINDOWS = 4
"""Full contexts that the cache holds on a CPU."""


def build(home: Path) -> Build:
    """The one that would be run."""
    found = version.find(home)
    return Build(engine=EngineName.VLLM, version=found.version if found else None, install=version.way_out())


def size(shape: ModelShape, config: LoadConfig, room: Room) -> Sized:
    """What fits the GPUs; vLLM fills what it is given with cache, so that this is all of the room.

    :raises EngineFailed: the settings contradict each other.
    """
    if config.kv_cells is not None and config.ctx_size is not None and config.kv_cells < config.ctx_size:
        raise EngineFailed(
            f"--kv-cells {config.kv_cells} is less than --ctx-size {config.ctx_size}: no request could use its whole context"
        )
    if not room.devices:
        return _on_cpu(shape, config, room)
    chosen = choice.vllm_choice(shape, needs.wanted_of(config), room)
    settings = chosen.settings
    cells = config.kv_cells or max(settings.context, vllm.tokens(shape, settings, gpu=min(room.devices)))
    unsure = "" if chosen.fits else "it may not fit: "
    return Sized(
        config=replace(config, ctx_size=settings.context, kv_cells=cells, parallel=settings.sequences),
        need=Need(bytes=vllm.HOST, gpu=vllm.bytes_for(shape, settings, cells) * settings.tensor_parallel),
        fits=chosen.fits,
        unified=False,
        told=f"context {settings.context}, {settings.sequences} sequences, {settings.tensor_parallel} GPUs: {unsure}{chosen.reason}",
    )


def _on_cpu(shape: ModelShape, config: LoadConfig, room: Room) -> Sized:
    context = config.ctx_size or choice.default_context(shape.context)
    parallel = config.parallel or CPU_SEQUENCES
    cells = config.kv_cells or WINDOWS * context
    settings = vllm.Settings(context=context, sequences=parallel)
    need = shape.weights.total + cache_gib(shape, settings, cells) * GIB + CPU_HOST
    fits = need <= room.host
    return Sized(
        config=replace(config, ctx_size=context, kv_cells=cells, parallel=parallel),
        need=Need(bytes=need),
        fits=fits,
        unified=False,
        told=f"context {context}, {parallel} sequences, on the CPU: it needs {choice.gib(need)} of {choice.gib(room.host)}",
    )


def cache_gib(shape: ModelShape, settings: vllm.Settings, cells: int) -> int:
    """What `VLLM_CPU_KVCACHE_SPACE` is to say: whole GiB."""
    return max(1, -(-vllm.request_bytes(shape, settings) * cells // settings.context // GIB))


def settings_of(shape: ModelShape, config: LoadConfig, gpus: tuple[int, ...]) -> Settings:
    """What vLLM is started with, from sizes that were decided.

    :param gpus: bytes of each GPU.
    """
    assert config.ctx_size is not None, "an engine is made with sizes that were decided"
    assert config.kv_cells is not None, "an engine is made with sizes that were decided"
    assert config.parallel is not None, "an engine is made with sizes that were decided"
    if not gpus:
        plain = vllm.Settings(context=config.ctx_size, sequences=config.parallel)
        # a core is left to vLLM's HTTP server and to us, as vLLM itself does; it does not know of a container's share
        threads = config.threads or max(1, cpu.usable_cores() - 1)
        on_cpu = OnCpu(cache_gib=cache_gib(shape, plain, config.kv_cells), threads=threads)
        return Settings(context=config.ctx_size, sequences=config.parallel, cpu=on_cpu, extra=config.engine_args)
    room = Room(host=0, devices=gpus, whole=True)
    chosen = choice.vllm_choice(shape, needs.wanted_of(config), room).settings
    share = vllm.bytes_for(shape, chosen, config.kv_cells) / min(gpus)
    return Settings(
        context=config.ctx_size,
        sequences=config.parallel,
        tensor_parallel=chosen.tensor_parallel,
        utilization=min(chosen.utilization, round(share, 2)),
        extra=config.engine_args,
    )


def make(order: Order) -> Engine:
    """An engine, not started.

    :raises EngineFailed: vLLM is gone since the agent started.
    """
    from vllama_agent.engines.vllm.engine import VllmEngine
    from vllama_agent.engines.vllm.server import Launch

    home, config, shape = order.agent.home, order.settings, order.artifact.shape
    found = version.find(home)
    if found is None:
        raise EngineFailed(f"vLLM is not here any more: {version.why_not(home)}")
    gpus = tuple(accelerator.usable for accelerator in order.choice.accelerators if accelerator.usable)
    settings = settings_of(shape, config, gpus)
    sized = size(shape, config, Room(host=0, devices=gpus, whole=True))
    return VllmEngine(
        Launch(
            python=found.python,
            model=order.artifact.place,
            settings=settings,
            caches=home / "cache",
            needed=sized.need.gpu or sized.need.bytes,
        ),
        load_timeout=order.agent.load_timeout,
        memory=sized.need.bytes + sized.need.gpu,
        gpu_memory=sized.need.gpu,
        family=config.chat_family,
    )


VLLM = Kind(name=EngineName.VLLM, build=build, size=size, make=make)
