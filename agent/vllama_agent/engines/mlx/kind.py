"""MLX as a kind of engine: an interpreter of its own, a folder in Hugging Face's format, memory that processor and GPU share."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from vllama_agent.engines.base import Engine, ModelFacts
from vllama_agent.engines.kinds import Kind, Order
from vllama_agent.engines.mlx import arguments, version
from vllama_agent.pool.budget import Need
from vllama_agent.pool.needs import Sized
from vllama_core.config import LoadConfig
from vllama_core.engine_build import Build, EngineName
from vllama_core.errors import EngineFailed
from vllama_core.sizing import choice, llama_cpp
from vllama_core.sizing.budget import Budget as Room
from vllama_core.sizing.shape import MIB, ModelShape

PROCESS = 400 * MIB
"""Python with transformers and MLX, and buffers of a step: an estimate, not yet measured on a Mac."""
SEQUENCES = 32
"""Requests that decode at once: its server's own default."""


def build(home: Path) -> Build:
    """The one that would be run."""
    return Build(engine=EngineName.MLX, version=version.pinned() if version.find(home) else None, install=version.way_out())


def size(shape: ModelShape, config: LoadConfig, room: Room) -> Sized:
    """Weights, and cells for a few full contexts: running requests and kept prompts share them.

    :raises EngineFailed: the settings contradict each other.
    """
    context = config.ctx_size or choice.default_context(shape.context)
    cells = config.kv_cells or choice.WINDOWS * context
    parallel = config.parallel or SEQUENCES
    if cells < context:
        raise EngineFailed(f"--kv-cells {cells} is less than --ctx-size {context}: no request could use its whole context")
    need = shape.weights.total + cache_bytes(shape, context=context, cells=cells, parallel=parallel) + PROCESS
    devices = sum(room.usable_devices)
    fits = need <= room.usable_host and (not devices or need <= devices)
    unsure = "" if fits else "it may not fit: "
    return Sized(
        config=replace(config, ctx_size=context, kv_cells=cells, parallel=parallel),
        need=Need(bytes=need, gpu=need if devices else 0),
        fits=fits,
        unified=room.unified,
        told=f"context {context}, {parallel} sequences: {unsure}it needs {choice.gib(need)} of {choice.gib(room.usable_host)}",
    )


def cache_bytes(shape: ModelShape, *, context: int, cells: int, parallel: int) -> int:
    """Keys and values in 16 bits, as MLX keeps them."""
    settings = llama_cpp.Settings(context=context, cells=cells, parallel=parallel)
    return llama_cpp.kv_bytes(shape, settings) + shape.state * parallel


def make(order: Order) -> Engine:
    """An engine, not started.

    :raises EngineFailed: mlx-lm is gone since the agent started.
    """
    from vllama_agent.engines.mlx import body
    from vllama_agent.engines.mlx.engine import MlxEngine

    python = version.find(order.agent.home)
    if python is None:
        raise EngineFailed(f"mlx-lm is not here any more: {version.why_not(order.agent.home)}")
    artifact, config, shape = order.artifact, order.settings, order.artifact.shape
    assert config.ctx_size is not None, "an engine is made with sizes that were decided"
    assert config.kv_cells is not None, "an engine is made with sizes that were decided"
    assert config.parallel is not None, "an engine is made with sizes that were decided"
    kept = cache_bytes(shape, context=config.ctx_size, cells=config.kv_cells, parallel=config.parallel)
    settings = arguments.Settings(context=config.ctx_size, sequences=config.parallel, cache_bytes=kept, template=artifact.template)
    template = artifact.template or artifact.brief.metadata.get("tokenizer.chat_template")
    memory = shape.weights.total + kept + PROCESS
    facts = ModelFacts(
        context_length=config.ctx_size,
        trained_context=shape.context or config.ctx_size,
        kv_cells=config.kv_cells,
        parallel=config.parallel,
        vocab_size=shape.vocabulary,
        memory_bytes=memory,
        vram_bytes=memory if order.choice.accelerators else 0,
        capabilities=frozenset({"completion"}),
        chat_template=template,
        engine=f"MLX (mlx-lm {version.pinned()})",
        ignores=body.IGNORES,
    )
    launch = partial(_command, python, artifact.place, settings)
    return MlxEngine(launch, model=artifact.place.name, facts=facts, load_timeout=order.agent.load_timeout)


def _command(python: Path, model: Path, settings: arguments.Settings, port: int) -> list[str]:
    return arguments.command(python, model, port, settings)


MLX = Kind(name=EngineName.MLX, build=build, size=size, make=make)
