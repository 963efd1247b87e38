"""The agent's settings: one value, validated once, never read again from the environment.

Precedence: built-in defaults < ``OLLAMA_*`` < ``VLLAMA_*`` < flags. `commands/serve.py` reads flags and environment into it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

GGUF_PUBLISHERS = ("ggml-org", "bartowski", "unsloth", "lmstudio-community", "TheBloke")
OLLAMA_REGISTRY = "https://registry.ollama.ai"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppConfig:
    """Load-time settings of the llama.cpp engine. None = decided from the model and the machine."""

    ctx_size: int | None = None
    """Most tokens of one request, prompt and answer. None: 8,192, or what the model was trained for if that is less."""
    kv_cells: int | None = None
    """Cells of the KV pool that all requests share. None: four times ctx_size, within half of the free memory."""
    parallel: int = 64
    """Most sequences that decode at once."""
    threads: int | None = None
    """None: usable cores, from affinity and the cgroup's quota."""
    gpu_layers: int = -1
    """Layers to offload; -1 = all that the build can."""
    flash_attn: str = "auto"
    """auto, on or off. A quantised V cache needs it."""
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch_size: int = 2048
    """Most rows of one decode call."""
    ubatch_size: int = 512
    """Rows that are computed at once; compute buffers grow with it."""
    mmap: bool = True
    mlock: bool = False
    rope_scaling: str | None = None
    """none, linear or yarn; None: as the model says."""
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    tensor_split: tuple[float, ...] = ()
    """Share of the model per GPU."""
    step_budget: float = 0.25
    """Seconds that one step may take while answers are streaming: the longest gap that a long prompt may cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything `vllama serve` needs to know."""

    host: str = "127.0.0.1"
    port: int = 11434
    models: tuple[str, ...] = ()
    """Loaded at start and pinned: never unloaded for idleness."""
    api_key_file: Path | None = None
    """One key per line; `#` starts a comment. Read again when it changes."""
    no_auth: bool = False
    """Allows binding elsewhere than loopback without keys."""
    home: Path = field(default_factory=lambda: Path("~/.vllama").expanduser())
    stores: tuple[Path, ...] = ()
    """Further stores, laid out like `home`, that are only read: a name that `home` lacks is looked up in them, in this order."""
    gguf_publishers: tuple[str, ...] = GGUF_PUBLISHERS
    """Whose GGUF files of a model are taken where its owner publishes none, in this order."""
    ollama_registry: str = OLLAMA_REGISTRY
    """Where bare names that the catalogue lacks are looked up; a mirror can stand for it."""
    download_streams: int = 8
    """Requests at once for one file. One stream seldom fills a fast line; more make sources refuse. OLLAMA_MAX_TRANSFER_STREAMS."""
    origins: tuple[str, ...] = ()
    """Further origins that browsers may call from, beside the local ones."""
    keep_alive: float | None = None
    """Seconds an idle model stays loaded; negative = forever. None: 300 for models loaded on demand, forever for pinned ones. A value
    lifts the pin."""
    managed: bool = False
    """An operator owns this agent (VLLAMA_MANAGED=1): clients cannot unload a pinned model."""
    max_queue: int = 512
    """Requests per model that may wait or run; more get 503 / 429. OLLAMA_MAX_QUEUE."""
    max_queue_total: int = 2048
    """The same, for all models together."""
    load_timeout: float = 300.0
    """Seconds until a loading engine counts as failed. Large models on cold disks need minutes. OLLAMA_LOAD_TIMEOUT."""
    write_timeout: float = 60.0
    """Seconds a reader may accept no byte of its stream before its request is dropped, so that it cannot hold KV cells forever."""
    idle_timeout: float = 75.0
    """Seconds a connection may take until the next request's line and headers are there, so that one that sends nothing, or a byte now and
    then, is not held for ever. Longer than most balancers keep idle connections, so that they close first: else a request may meet a
    connection that is being closed."""
    drain_delay: float = 0.0
    """Seconds to keep accepting after SIGTERM, for load balancers that lag."""
    drain_seconds: float = 600.0
    """Seconds that running streams may take after SIGTERM."""
    max_body_bytes: int = 64 << 20
    log_format: str = "text"
    """text or json."""
    log_level: str = "info"
    llama_cpp: LlamaCppConfig = LlamaCppConfig()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
