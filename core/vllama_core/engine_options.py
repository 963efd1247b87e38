"""`spec.engine.options` of a model: our names in the file, and the fields that they set. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllama_core.config import CACHE_TYPES, CHAT_FAMILIES, MOST_CELLS, MOST_LAYERS
from vllama_core.engine_build import EngineName
from vllama_core.yaml_fields import Field


def _whole(least: int, most: int | None = None) -> Callable[[Field], int]:
    return lambda field: field.whole(least=least, most=most)


def _word(*words: str) -> Callable[[Field], str]:
    return lambda field: field.one_of(*words)


def _positive(field: Field) -> float:
    return field.number(above=0)


def _shares(field: Field) -> tuple[float, ...]:
    return tuple(share.number(above=0) for share in field.items())


OPTIONS: dict[str, tuple[tuple[str, ...], Callable[[Field], Any]]] = {
    "kvCells": (("kv_cells",), _whole(16, MOST_CELLS)),
    "parallel": (("parallel",), _whole(1, 256)),
    "threads": (("threads",), _whole(1, 512)),
    "gpuLayers": (("gpu_layers",), _whole(-1, MOST_LAYERS)),
    "flashAttention": (("flash_attn",), _word("auto", "on", "off")),
    "kvCacheType": (("cache_type_k", "cache_type_v"), _word(*CACHE_TYPES)),
    "batch": (("batch_size",), _whole(1, 1 << 16)),
    "ubatch": (("ubatch_size",), _whole(1, 1 << 16)),
    "mmap": (("mmap",), Field.boolean),
    "mlock": (("mlock",), Field.boolean),
    "ropeScaling": (("rope_scaling",), _word("none", "linear", "yarn")),
    "ropeFreqBase": (("rope_freq_base",), _positive),
    "ropeFreqScale": (("rope_freq_scale",), _positive),
    "tensorSplit": (("tensor_split",), _shares),
    "chatFamily": (("chat_family",), _word(*CHAT_FAMILIES)),
    "stepBudget": (("step_budget",), _positive),
}
"""Name in the file: (fields of `LoadConfig`, how its value is read)."""


SHARED = ("kvCells", "parallel", "chatFamily")
"""Those that other engines have something for, too."""


def read(field: Field, engine: EngineName | None = None) -> dict[str, Any]:
    """Fields of `LoadConfig`.

    :param engine: the one that was chosen; None: it will be.
    :raises ConfigError: an option is not known, or its value is not allowed.
    """
    found: dict[str, Any] = {}
    for name, value in field.mapping(OPTIONS).items():
        if engine not in (None, EngineName.LLAMA_CPP) and name not in SHARED:
            raise value.error(f"is llama.cpp's; {engine} has {', '.join(SHARED)}, and vLLM takes everything else in engine.args")
        names, parse = OPTIONS[name]
        found |= dict.fromkeys(names, parse(value))
    return found
