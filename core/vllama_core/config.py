"""The agent's settings: one value, validated once, never read again from the environment.

Precedence: built-in defaults < ``OLLAMA_*`` < ``VLLAMA_*`` < flags. `commands/serve.py` reads flags and environment into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vllama_core import address
from vllama_core.engine_build import EngineName

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Types that llama.cpp can keep keys and values in."""
MOST_CONTEXT = 1 << 24
"""Tokens of a request; the CRD has the same limit."""
MOST_CELLS = (1 << 31) - 1
"""llama.cpp counts them in 32 bits, and what is more would come out as another number."""
MOST_LAYERS = 1 << 16
CHAT_FAMILIES = (
    "harmony",
    "gemma4",
    "functiongemma",
    "deepseek",
    "deepseek-v4",
    "deepseek-v3.2",
    "kimi",
    "minimax",
    "apriel",
    "minimax-m1",
    "seed",
    "mistral",
    "command",
    "command-r",
    "solar",
    "apertus",
    "lfm2",
    "lfm2.5",
    "nemotron",
    "gigachat3.1",
    "gigachat3",
    "functionary",
    "firefunction",
    "minicpm",
    "glm",
    "qwen3-coder",
    "granite",
    "granite4",
    "phi",
    "phi-4-mini",
    "qwen",
    "llama4",
    "llama3",
    "json",
)
"""How models may write thoughts and calls of tools, by the families that do so; the agent's `chat.families` has the rows."""
GGUF_PUBLISHERS = ("ggml-org", "bartowski", "unsloth", "lmstudio-community", "TheBloke")
OLLAMA_REGISTRY = "https://registry.ollama.ai"
PVC_ROOT = Path("/mnt/pvc")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """Load-time settings of a model, whichever engine runs it; most are llama.cpp's. None = decided from the model and the machine."""

    engine: EngineName | None = None
    """Which engine runs the model. None: the one that suits model and machine."""
    engine_args: tuple[str, ...] = ()
    """Further command-line arguments of vLLM, as they are."""
    ctx_size: int | None = None
    """Most tokens of one request, prompt and answer. None: 8,192, what the model was trained for if that is less, or what fits."""
    kv_cells: int | None = None
    """Cells of the KV pool that all requests share. None: four times ctx_size, or as many as fit (`sizing.choice`)."""
    parallel: int | None = None
    """Most sequences that decode at once. None: 64, or as many as fit."""
    threads: int | None = None
    """None: usable cores, from affinity and the cgroup's quota."""
    gpu_layers: int = -1
    """Layers to offload; -1 = all that fit."""
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
    chat_family: str | None = None
    """How the model writes thoughts and calls of tools: one of `CHAT_FAMILIES`. None: found from its template."""
    step_budget: float = 0.25
    """Seconds that one step may take while answers are streaming: the longest gap that a long prompt may cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything `vllama serve` needs to know."""

    host: str = "127.0.0.1"
    port: int = 11434
    models: tuple[str, ...] = ()
    """Loaded at start and pinned: never unloaded for idleness."""
    config_file: Path | None = None
    """A `vllama.yaml`: further models to load and pin, read again at SIGHUP."""
    preload: tuple[str, ...] = ()
    """Loaded at start where that needs nobody else's memory, and not pinned."""
    memory: int | None = None
    """Bytes that all models together may take. None: nine tenths of what is free at start."""
    max_loaded: int | None = None
    """Most models loaded at once; None = as many as fit. OLLAMA_MAX_LOADED_MODELS."""
    memory_wait: float = 300.0
    """Seconds that a request waits until its model begins to load, because others are loaded before it or answer in the memory that it
    needs; then it gets a 503 with the reason."""
    api_key_file: Path | None = None
    """One key per line, with a name and limits behind it; `#` starts a comment line. Read again when it changes."""
    tls_cert: Path | None = None
    """The server's certificate and those that vouch for it, in PEM; None = plain HTTP. Read again when it or its key changes."""
    tls_key: Path | None = None
    """The certificate's private key, in PEM, not encrypted."""
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
    auto_pull: bool = False
    """The first request for a model that is not here fetches it. Off: it is a 404, at which Ollama's clients pull; on, whoever may ask can
    fill the disk by names."""
    xet: bool = False
    """Large files of the hub are fetched by its own downloader, which reuses chunks of other files, and begins anew after a cut."""
    pvc_root: Path = PVC_ROOT
    """The folder that volume claims of a cluster are mounted in, each by its name: pvc://claim/path is a path below it."""
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
    responses_kept: int = 0
    """Responses of /v1/responses that are kept, the newest ones, in memory, so that requests can go on from them; 0 = none."""
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
    load: LoadConfig = LoadConfig()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return address.is_loopback(self.host)
