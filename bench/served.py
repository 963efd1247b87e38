"""What `vllama serve` loads the demo model with where nobody says anything, for measurements below the agent."""

from __future__ import annotations

from vllama_core.config import LoadConfig

DEFAULTS = LoadConfig(ctx_size=8192, kv_cells=32768, parallel=64)
