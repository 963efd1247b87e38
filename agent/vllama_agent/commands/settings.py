"""Every setting of `serve`, in one table: its field, its flag, its variables, and how its text is read.

Precedence: defaults < ``OLLAMA_*`` < ``VLLAMA_*`` < flags. One loop reads all of them, so that each error names the flag or the
variable, the value, and what is allowed. Keys are never given on a command line: every user of the machine could read them there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vllama_agent.commands import values
from vllama_core import address, durations
from vllama_core.config import CACHE_TYPES, CHAT_FAMILIES, MOST_CELLS, MOST_CONTEXT, MOST_LAYERS, AgentConfig, LoadConfig
from vllama_core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A row of the table.

    :ivar fields: of `AgentConfig`, or of `LoadConfig` with the prefix ``load.``; ``address`` stands for host and port.
    :ivar flag: None = variables only.
    :ivar variables: the first one that is set wins.
    :ivar metavar: None = a flag without a value.
    """

    fields: tuple[str, ...]
    parse: Callable[[str], Any]
    help: str
    flag: str | None = None
    variables: tuple[str, ...] = ()
    metavar: str | None = "N"


def _both(name: str, ollama: str | None = None) -> tuple[str, ...]:
    return (f"VLLAMA_{name}", f"OLLAMA_{ollama or name}")


# There is no VLLAMA_PORT: Kubernetes sets a variable of that name in every Pod beside a Service called vllama.
SETTINGS = (
    Setting(fields=("address",), flag="--host", variables=_both("HOST"), metavar="HOST", parse=address.parse,
            help="address to listen on (127.0.0.1); anything but loopback needs --api-key-file or --no-auth"),
    Setting(fields=("port",), flag="--port", parse=values.whole(least=0, most=65535), help="port to listen on (11434); 0 = a free one"),
    Setting(fields=("config_file",), flag="--config", variables=("VLLAMA_CONFIG",), metavar="FILE", parse=values.file,
            help="vllama.yaml: models to load and keep loaded, each with settings of its own; read again at SIGHUP"),
    Setting(fields=("api_key_file",), flag="--api-key-file", variables=("VLLAMA_API_KEY_FILE",), metavar="FILE", parse=values.file,
            help="file with one API key per line, with its name and limits; read again when it changes"),
    Setting(fields=("tls_cert",), flag="--tls-cert", variables=("VLLAMA_TLS_CERT",), metavar="FILE", parse=values.file,
            help="certificate (PEM, with its chain): serve HTTPS; read again when it changes, and at SIGHUP"),
    Setting(fields=("tls_key",), flag="--tls-key", variables=("VLLAMA_TLS_KEY",), metavar="FILE", parse=values.file,
            help="the certificate's private key (PEM, not encrypted)"),
    Setting(fields=("no_auth",), flag="--no-auth", variables=("VLLAMA_NO_AUTH",), metavar=None, parse=values.yes,
            help="let everybody in who can reach the address"),
    Setting(fields=("load.engine",), flag="--engine", variables=("VLLAMA_ENGINE",), metavar="auto|llama.cpp|vllm|mlx",
            parse=values.engine, help="which engine runs the models (auto: the one that suits model and machine)"),
    Setting(fields=("load.engine_args",), flag="--engine-args", variables=("VLLAMA_ENGINE_ARGS",), metavar="TEXT",
            parse=values.engine_arguments, help="further arguments of vLLM, as a shell would read them"),
    Setting(fields=("keep_alive",), flag="--keep-alive", variables=_both("KEEP_ALIVE"), metavar="TIME", parse=durations.parse_seconds,
            help="how long an idle model stays loaded: seconds, or 30s, 5m, 1h; negative = forever; also lifts the pin of --model"),
    Setting(fields=("memory",), flag="--memory", variables=("VLLAMA_MEMORY",), metavar="AMOUNT", parse=values.memory,
            help="memory that all loaded models may take together, such as 24GiB (nine tenths of what is free at start)"),
    Setting(fields=("max_loaded",), variables=_both("MAX_LOADED_MODELS"), parse=values.whole(least=1, zero_is_default=True),
            help="models that may be loaded at once (as many as fit)"),
    Setting(fields=("memory_wait",), variables=("VLLAMA_MEMORY_WAIT",), metavar="TIME", parse=values.some_seconds,
            help="how long a request waits for memory in which other models answer (5m)"),
    Setting(fields=("origins",), variables=_both("ORIGINS"), metavar="LIST", parse=values.words,
            help="further origins that browsers may call from, with commas"),
    Setting(fields=("max_queue",), variables=_both("MAX_QUEUE"), parse=values.whole(least=1),
            help="requests per model that may wait or run (512)"),
    Setting(fields=("max_queue_total",), variables=("VLLAMA_MAX_QUEUE_TOTAL",), parse=values.whole(least=1),
            help="the same for all models together (2048)"),
    Setting(fields=("responses_kept",), flag="--keep-responses", variables=("VLLAMA_KEEP_RESPONSES",),
            parse=values.whole(least=0, most=100_000),
            help="responses of /v1/responses to keep, so that previous_response_id finds them (0: none)"),
    Setting(fields=("load_timeout",), variables=_both("LOAD_TIMEOUT"), metavar="TIME", parse=values.seconds_or_never,
            help="how long a model may take to load (5m); 0 = any time"),
    Setting(fields=("write_timeout",), variables=("VLLAMA_WRITE_TIMEOUT",), metavar="TIME", parse=values.seconds,
            help="how long a reader may accept no byte before its request is dropped (60s)"),
    Setting(fields=("idle_timeout",), variables=("VLLAMA_IDLE_TIMEOUT",), metavar="TIME", parse=values.some_seconds,
            help="how long a connection may take until its next request's headers are there (75s)"),
    Setting(fields=("drain_delay",), flag="--drain-delay", variables=("VLLAMA_DRAIN_DELAY",), metavar="TIME", parse=values.seconds,
            help="how long to keep accepting after SIGTERM, for load balancers that lag (0s)"),
    Setting(fields=("drain_seconds",), flag="--drain-seconds", variables=("VLLAMA_DRAIN_SECONDS",), metavar="TIME", parse=values.seconds,
            help="how long running answers may take after SIGTERM (10m)"),
    Setting(fields=("max_body_bytes",), variables=("VLLAMA_MAX_BODY_BYTES",), metavar="BYTES", parse=values.whole(least=1024),
            help="largest request body (64 MiB)"),
    Setting(fields=("log_format",), flag="--log-format", variables=("VLLAMA_LOG_FORMAT",), metavar="text|json",
            parse=values.one_of("text", "json"), help="how log lines look (text)"),
    Setting(fields=("log_level",), variables=_both("DEBUG"), metavar="1", parse=values.log_level, help="1 = more log lines"),
    Setting(fields=("home",), variables=("VLLAMA_HOME",), metavar="FOLDER", parse=values.file, help="where models are kept (~/.vllama)"),
    Setting(fields=("stores",), variables=("VLLAMA_STORES",), metavar="LIST", parse=values.paths,
            help="further stores that are only read, with colons; a model that FOLDER lacks is looked up in them"),
    Setting(fields=("gguf_publishers",), variables=("VLLAMA_GGUF_PUBLISHERS",), metavar="LIST", parse=values.words,
            help="whose GGUF files are taken where a model's owner has none, with commas"),
    Setting(fields=("ollama_registry",), variables=("VLLAMA_OLLAMA_REGISTRY",), metavar="URL", parse=values.web_address,
            help="Ollama's registry, or a mirror of it"),
    Setting(fields=("download_streams",), variables=("VLLAMA_DOWNLOAD_STREAMS", "OLLAMA_MAX_TRANSFER_STREAMS"),
            parse=values.whole(least=1, most=64), help="requests at once for one file that is fetched (8)"),
    Setting(fields=("auto_pull",), flag="--pull", variables=("VLLAMA_AUTO_PULL",), metavar=None, parse=values.yes,
            help="fetch a model that is not here when a request first asks for it, instead of answering 404"),
    Setting(fields=("xet",), variables=("VLLAMA_XET",), metavar="1", parse=values.yes,
            help="fetch large files of the hub by its own downloader, hf-xet, which begins anew after a cut"),
    Setting(fields=("pvc_root",), variables=("VLLAMA_PVC_ROOT",), metavar="FOLDER", parse=values.file,
            help="where the volume claims of pvc:// are mounted, each by its name (/mnt/pvc)"),
    Setting(fields=("managed",), variables=("VLLAMA_MANAGED",), metavar="1", parse=values.yes,
            help="an operator owns this agent: clients cannot unload pinned models, nor change the store"),
    Setting(fields=("load.ctx_size",), flag="--ctx-size", variables=_both("CONTEXT_LENGTH"),
            parse=values.whole(least=16, most=MOST_CONTEXT, zero_is_default=True),
            help="most tokens of one request, prompt and answer (8192, what the model was trained for if that is less, or what fits)"),
    Setting(fields=("load.kv_cells",), flag="--kv-cells", variables=("VLLAMA_KV_CELLS",),
            parse=values.whole(least=16, most=MOST_CELLS, zero_is_default=True),
            help="tokens that all requests together can hold (four times --ctx-size, or as many as fit)"),
    Setting(fields=("load.parallel",), flag="--parallel", variables=_both("NUM_PARALLEL"),
            parse=values.whole(least=1, most=256, zero_is_default=True), help="most requests that decode at once (64, or as many as fit)"),
    Setting(fields=("load.threads",), flag="--threads", variables=("VLLAMA_THREADS",),
            parse=values.whole(least=1, most=512, zero_is_default=True), help="threads (the cores this process may use)"),
    Setting(fields=("load.gpu_layers",), flag="--gpu-layers", variables=("VLLAMA_GPU_LAYERS",),
            parse=values.whole(least=-1, most=MOST_LAYERS), help="layers to run on the GPU (-1: all that fit)"),
    Setting(fields=("load.flash_attn",), flag="--flash-attn", variables=_both("FLASH_ATTENTION"), metavar="auto|on|off",
            parse=values.one_of("auto", "on", "off", aliases={"1": "on", "true": "on", "0": "off", "false": "off"}),
            help="flash attention (auto); a quantised V cache needs it"),
    Setting(fields=("load.cache_type_k", "load.cache_type_v"), variables=_both("KV_CACHE_TYPE"), metavar="TYPE",
            parse=values.one_of(*CACHE_TYPES), help=f"type of the KV cache (f16): {', '.join(CACHE_TYPES)}"),
    Setting(fields=("load.cache_type_k",), flag="--cache-type-k", metavar="TYPE", parse=values.one_of(*CACHE_TYPES),
            help="type of the cached keys"),
    Setting(fields=("load.cache_type_v",), flag="--cache-type-v", metavar="TYPE", parse=values.one_of(*CACHE_TYPES),
            help="type of the cached values"),
    Setting(fields=("load.batch_size",), flag="--batch-size", variables=("VLLAMA_BATCH_SIZE",),
            parse=values.whole(least=1, most=1 << 16), help="most tokens of one decode call (2048)"),
    Setting(fields=("load.ubatch_size",), flag="--ubatch-size", variables=("VLLAMA_UBATCH_SIZE",),
            parse=values.whole(least=1, most=1 << 16), help="tokens that are computed at once (512)"),
    Setting(fields=("load.mmap",), flag="--no-mmap", variables=("VLLAMA_NO_MMAP",), metavar=None, parse=values.no,
            help="read the model into memory instead of mapping its file"),
    Setting(fields=("load.mlock",), flag="--mlock", variables=("VLLAMA_MLOCK",), metavar=None, parse=values.yes,
            help="keep the model from being swapped out"),
    Setting(fields=("load.rope_scaling",), flag="--rope-scaling", metavar="none|linear|yarn",
            parse=values.one_of("none", "linear", "yarn"), help="how positions are scaled (as the model says)"),
    Setting(fields=("load.rope_freq_base",), flag="--rope-freq-base", parse=values.number(above=0), help="RoPE's base frequency"),
    Setting(fields=("load.rope_freq_scale",), flag="--rope-freq-scale", parse=values.number(above=0), help="RoPE's frequency scale"),
    Setting(fields=("load.tensor_split",), flag="--tensor-split", metavar="LIST", parse=values.shares,
            help="share of the model per GPU, such as 3,1"),
    Setting(fields=("load.chat_family",), flag="--chat-family", variables=("VLLAMA_CHAT_FAMILY",), metavar="NAME",
            parse=values.one_of(*CHAT_FAMILIES),
            help=f"how models write thoughts and calls of tools (found from the template): {', '.join(CHAT_FAMILIES)}"),
    Setting(fields=("load.step_budget",), variables=("VLLAMA_STEP_BUDGET",), metavar="SECONDS", parse=values.number(above=0),
            help="longest gap that a long prompt may cause in other answers (0.25)"),
)  # fmt: skip
IGNORED = ("OLLAMA_MODELS", "OLLAMA_GPU_OVERHEAD", "OLLAMA_SCHED_SPREAD")
"""Variables of Ollama that change nothing here yet; `serve` says so when one is set."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All flags of the table. Values stay text here: `read` parses flags and variables alike."""
    parser.add_argument("--model", action="append", default=[], metavar="REF", help="model to load now and keep loaded; may be repeated")
    parser.add_argument("--preload", action="append", default=[], metavar="REF", help="model to load now if there is room; may be repeated")
    for setting in SETTINGS:
        if setting.flag is None:
            continue
        if setting.metavar is None:
            parser.add_argument(setting.flag, action="store_const", const="1", help=setting.help)
        else:
            parser.add_argument(setting.flag, metavar=setting.metavar, help=setting.help.replace("%", "%%"))


def read(arguments: argparse.Namespace, environment: Mapping[str, str]) -> AgentConfig:
    """The settings that flags and variables make together.

    :raises ConfigError: names the flag or variable, its value, and what is allowed.
    """
    agent: dict[str, Any] = {}
    engine: dict[str, Any] = {}
    for setting in SETTINGS:
        source, text = given(setting, arguments, environment)
        if text is None:
            continue
        value = _parsed(setting, source, text)
        for field in setting.fields:
            group, _, name = field.rpartition(".")
            if value is not None:
                (engine if group else agent)[name] = value
    models, preload = (tuple(getattr(arguments, name, ())) for name in ("model", "preload"))  # other commands have no such flags
    return AgentConfig(models=models, preload=preload, load=LoadConfig(**engine), **_with_address(agent))


def one(field: str, environment: Mapping[str, str]) -> Any:
    """The value of a single setting from its variables; None where none of them is set.

    :raises ConfigError: names the variable, its value, and what is allowed.
    """
    [setting] = [row for row in SETTINGS if row.fields == (field,)]
    source, text = given(setting, argparse.Namespace(), environment)
    return None if text is None else _parsed(setting, source, text)


def _parsed(setting: Setting, source: str, text: str) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        raise ConfigError(f"{source} is {text!r}: {error}") from None


def given(setting: Setting, arguments: argparse.Namespace, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Where a setting was given, and its text; None = nowhere. Empty variables count as not set, quotes around values are dropped."""
    if setting.flag is not None:
        text = getattr(arguments, setting.flag[2:].replace("-", "_"), None)
        if text is not None:
            return setting.flag, text
    for variable in setting.variables:
        text = environment.get(variable, "").strip().strip("\"'")
        if text:
            return variable, text
    return "", None


def _with_address(agent: dict[str, Any]) -> dict[str, Any]:
    """Host and port of `--host`; a port of its own wins."""
    where: address.Address = agent.pop("address", address.Address())
    return {"host": where.host, "port": where.effective_port, **agent}


def ignored(environment: Mapping[str, str]) -> list[str]:
    """Variables of Ollama that are set and change nothing."""
    return [name for name in IGNORED if environment.get(name)]
