"""A pool by the agent's settings."""

from __future__ import annotations

from vllama_agent.fetches import Find
from vllama_agent.pool.budget import Budget
from vllama_agent.pool.models import Store
from vllama_agent.pool.pool import Pool
from vllama_agent.pool.residency import MakeEngine
from vllama_agent.pool.rooms import Surroundings
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError
from vllama_core.sizing.budget import HOST_SHARE


def make_pool(config: AgentConfig, *, store: Store, make_engine: MakeEngine, find: Find | None, surroundings: Surroundings) -> Pool:
    """Nothing is loaded yet. See `Pool` for what the parameters are."""
    return Pool(store, make_engine, config, find=find, budget=budget_of(config, surroundings), surroundings=surroundings)


def budget_of(config: AgentConfig, surroundings: Surroundings) -> Budget:
    """What models may take together: what was said, else by what is free now; and of GPUs all that may be filled."""
    try:
        gpu = sum(surroundings.room(config.load, surroundings.prefers, host=0).devices) or None
    except ConfigError:  # no engine runs a model here unless its entry in the configuration names one, which is sized by itself
        gpu = None
    if config.memory is not None:
        return Budget(bytes=config.memory, gpu=gpu, models=config.max_loaded)
    return Budget(bytes=int(surroundings.free() * HOST_SHARE), gpu=gpu, models=config.max_loaded, firm=False)
