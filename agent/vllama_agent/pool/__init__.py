"""Which models are loaded. `pool.Pool` is what the rest of the agent sees."""

from vllama_agent.pool.budget import Budget
from vllama_agent.pool.making import budget_of, make_pool
from vllama_agent.pool.models import Artifact, Store, key_of
from vllama_agent.pool.pool import Pool
from vllama_agent.pool.residency import MakeEngine
from vllama_agent.pool.resident import Resident
from vllama_agent.pool.rooms import Surroundings

__all__ = ["Artifact", "Budget", "MakeEngine", "Pool", "Resident", "Store", "Surroundings", "budget_of", "key_of", "make_pool"]
