"""What vLLM's server is started with: arguments and environment. Pure.

https://docs.vllm.ai/en/v0.32.0/configuration/serve_args/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllama_agent import child_environment

MODULE = "vllm.entrypoints.openai.api_server"
NAME = "model"
"""What vLLM calls the model that it serves. Its own names stay in the agent, and a fixed one keeps every event short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCpu:
    """What is said where no GPU is.

    :ivar cache_gib: what the KV cache may take.
    :ivar threads: that compute.
    """

    cache_gib: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the agent decided.

    :ivar context: most tokens of a request, prompt and answer.
    :ivar sequences: most requests that decode at once.
    :ivar tensor_parallel: GPUs that share each layer.
    :ivar utilization: the share of each GPU's memory that it may take.
    :ivar cpu: what a machine without GPUs is told.
    :ivar extra: arguments that a person gave, which win.
    """

    context: int
    sequences: int
    tensor_parallel: int = 1
    utilization: float = 0.9
    cpu: OnCpu | None = None
    extra: tuple[str, ...] = ()


def command(python: Path, model: Path, socket: Path, settings: Settings) -> list[str]:
    """The command. `-I` keeps our own packages and the user's out."""
    return [
        *(str(python), "-I", "-m", MODULE),
        *("--model", str(model), "--served-model-name", NAME, "--uds", str(socket)),
        *("--max-model-len", str(settings.context), "--max-num-seqs", str(settings.sequences)),
        *("--gpu-memory-utilization", f"{settings.utilization:g}", "--tensor-parallel-size", str(settings.tensor_parallel)),
        *("--enable-prefix-caching", "--enable-prompt-tokens-details", "--enable-per-request-metrics"),
        "--trust-request-chat-template",  # the model's own of its Modelfile; nobody but the agent can send one
        *("--structured-outputs-config", '{"backend": "guidance"}'),  # the library that holds llama.cpp's answers to a form, too
        *("--disable-uvicorn-access-log", "--uvicorn-log-level", "warning", "--fingerprint-mode", "none"),
        *settings.extra,
    ]


def environment(ours: Mapping[str, str], settings: Settings, *, key: str, caches: Path) -> dict[str, str]:
    """All variables that it gets.

    :param key: what it asks of its one client. Not on the command line, which every user of the machine can read.
    :param caches: where compiled kernels are kept, so that the next start need not compile them.
    """
    defaults = {
        # `-I` is not handed on to the interpreters that vLLM starts: a folder of ours must not be on their path either
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(caches / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "NUMBA_CACHE_DIR": str(caches / "numba"),
    }
    if settings.cpu is not None:
        defaults |= {
            "VLLM_CPU_KVCACHE_SPACE": str(settings.cpu.cache_gib),
            # scheduler and model in one process: in two they wait for each other by polling, for which each takes a whole core
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(settings.cpu.threads),
        }
    return {**defaults, **child_environment.of_another_program(ours), "VLLM_API_KEY": key}
