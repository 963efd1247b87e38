"""Settings that fit. What somebody asked for is kept; the rest is chosen, and the reason told."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vllama_core.sizing import llama_cpp, vllm
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.llama_cpp import Estimate
from vllama_core.sizing.shape import GIB, ModelShape

CONTEXT = 8192
"""Default context of llama.cpp, in tokens: twice Ollama's, and a pool of four of them still fits beside a small model on a laptop."""
UNKNOWN_CONTEXT = 2048
"""Of a model whose files do not say what it was trained for."""
LEAST_CONTEXT = 2048
"""A default is not halved below this: a chat with less is no chat."""
FEWEST_SEQUENCES = 4
WINDOWS = 4
"""The pool, in contexts: more requests than that seldom fill theirs at once."""
POOL_SHARE = 0.5
"""Of the memory that is left when one context has its cells: further cells take no more, so that another model finds room."""
VLLM_SEQUENCES = 256
VLLM_FEWEST = 16
VLLM_CONTEXT = 8192
"""vLLM is given more GPUs rather than less context than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asked for; None = to be chosen."""

    context: int | None = None
    cells: int | None = None
    parallel: int | None = None
    gpu_layers: int | None = None
    ubatch: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True
    mmap: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppChoice:
    """Settings for llama.cpp.

    :ivar fits: whether they fit the budget; if not, they are the smallest that were allowed.
    :ivar reason: a sentence.
    """

    settings: llama_cpp.Settings
    estimate: Estimate
    fits: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmChoice:
    """Settings for vLLM; see `LlamaCppChoice`."""

    settings: vllm.Settings
    estimate: Estimate
    fits: bool
    reason: str


# --- llama.cpp ----------------------------------------------------------------------------------------------------------


def llama_cpp_choice(shape: ModelShape, wanted: Wanted, budget: Budget) -> LlamaCppChoice:
    """The most that fits: context before layers on a GPU before sequences before a larger pool."""
    contexts = _halves(wanted.context, default_context(shape.context), LEAST_CONTEXT)
    found = next(filter(None, (_best(shape, wanted, budget, context) for context in contexts)), None)
    settings = _least(shape, wanted, budget, contexts[-1]) if found is None else _with_pool(shape, found, wanted, budget)
    fits = _fits(shape, settings, budget)
    estimate = llama_cpp.estimate(shape, settings, unified=budget.unified)
    return LlamaCppChoice(settings=settings, estimate=estimate, fits=fits, reason=_reason(shape, wanted, settings, estimate, budget, fits))


def default_context(trained: int | None) -> int:
    """Tokens, where nobody asked for any number.

    :param trained: tokens that the model was trained for; None: its files do not say.
    """
    return min(CONTEXT, trained or UNKNOWN_CONTEXT)


def _best(shape: ModelShape, wanted: Wanted, budget: Budget, context: int) -> llama_cpp.Settings | None:
    """With as many layers on the GPU as there is room for beside the fewest sequences, then with as many sequences as fit: a whole model on
    the GPU with fewer sequences is better than a part of it with more. None: nothing fits with this context."""
    parallels = _parallels(shape, wanted)
    layers = _most_layers(shape, wanted, budget, lambda count: _settings(wanted, context=context, parallel=parallels[-1], gpu_layers=count))
    candidates = (_settings(wanted, context=context, parallel=parallel, gpu_layers=layers) for parallel in parallels)
    return next((candidate for candidate in candidates if _fits(shape, candidate, budget)), None)


def _least(shape: ModelShape, wanted: Wanted, budget: Budget, context: int) -> llama_cpp.Settings:
    layers = min(wanted.gpu_layers or 0, len(shape.layers) + 1) if budget.devices else 0
    return _settings(wanted, context=context, parallel=_parallels(shape, wanted)[-1], gpu_layers=layers)


def _parallels(shape: ModelShape, wanted: Wanted) -> list[int]:
    return [llama_cpp.most_sequences(shape, parallel) for parallel in _halves(wanted.parallel, llama_cpp.SEQUENCES, FEWEST_SEQUENCES)]


def _most_layers(shape: ModelShape, wanted: Wanted, budget: Budget, with_layers: Callable[[int], llama_cpp.Settings]) -> int:
    """Layers on the GPU, the output among them; without a GPU none.

    Every layer more takes more of the GPUs, so the most that fit are found by halving. And every layer more leaves more of the machine's
    memory: where that is too small for the most layers, it is for fewer, too. What both share is looked at as a whole.
    """
    everything = len(shape.layers) + 1
    if not budget.devices:
        return 0
    if wanted.gpu_layers is not None:
        return min(wanted.gpu_layers, everything)
    spare = _spare if budget.unified else _device_spare
    return bisect_left(range(1, everything + 1), x=1, key=lambda layers: int(spare(shape, with_layers(layers), budget) < 0))


def _settings(wanted: Wanted, *, context: int, parallel: int, gpu_layers: int) -> llama_cpp.Settings:
    return llama_cpp.Settings(
        context=context,
        cells=wanted.cells or context,
        parallel=parallel,
        gpu_layers=gpu_layers,
        ubatch=wanted.ubatch,
        cache_type_k=wanted.cache_type_k,
        cache_type_v=wanted.cache_type_v,
        flash_attention=wanted.flash_attention,
        mmap=wanted.mmap,
    )


def _halves(asked: int | None, most: int, least: int) -> list[int]:
    """What was asked for, else the default and its halves."""
    if asked is not None:
        return [asked]
    found = [most]
    while found[-1] // 2 >= least:
        found.append(found[-1] // 2)
    return found


def _fits(shape: ModelShape, settings: llama_cpp.Settings, budget: Budget) -> bool:
    return _spare(shape, settings, budget) >= 0


def _spare(shape: ModelShape, settings: llama_cpp.Settings, budget: Budget) -> int:
    """Bytes that are left where they are scarcest; negative = so many are missing."""
    estimate = llama_cpp.estimate(shape, settings, unified=budget.unified)
    if budget.unified:
        return min(budget.usable_host - estimate.total, sum(budget.usable_devices) - estimate.device)
    host = budget.usable_host - estimate.host
    return host if settings.gpu_layers == 0 else min(host, _device_spare(shape, settings, budget))


def _device_spare(shape: ModelShape, settings: llama_cpp.Settings, budget: Budget) -> int:
    """The same of GPUs with memory of their own. Each has buffers of its own."""
    estimate = llama_cpp.estimate(shape, settings)
    again = (len(budget.devices) - 1) * (llama_cpp.compute_bytes(shape, settings) + llama_cpp.DEVICE_CONTEXT)
    return sum(budget.usable_devices) - estimate.device - again


def _with_pool(shape: ModelShape, settings: llama_cpp.Settings, wanted: Wanted, budget: Budget) -> llama_cpp.Settings:
    """With as many cells as there is room for, up to `WINDOWS` contexts."""
    if wanted.cells is not None:
        return settings
    room = int(_spare(shape, settings, budget) * (1 - POOL_SHARE))
    more = [
        replace(settings, cells=settings.context + step) for step in range(0, (WINDOWS - 1) * settings.context + 1, llama_cpp.CELL_STEP)
    ]
    fitting = bisect_left(more, x=1, key=lambda wider: int(_spare(shape, wider, budget) < room))
    return more[max(0, fitting - 1)]


def _reason(shape: ModelShape, wanted: Wanted, settings: llama_cpp.Settings, estimate: Estimate, budget: Budget, fits: bool) -> str:
    gpus = f"on {len(budget.devices)} GPU{'s' if len(budget.devices) > 1 else ''}"
    if not fits:
        on_gpus = (
            f"{gib(estimate.device)} {gpus}, where {gib(sum(budget.usable_devices))} may be filled, and " if settings.gpu_layers else ""
        )
        need = f"{on_gpus}{gib(estimate.host)} of memory, where {gib(budget.usable_host)} may be filled"
        return f"even {settings.context} tokens with {settings.parallel} at once need {need}"
    on_gpus = f"{gib(estimate.device)} of {gib(sum(budget.devices))} {gpus} and " if settings.gpu_layers else ""
    need = f"{on_gpus}{gib(estimate.host)} of {gib(budget.host)} that are free"
    less = []
    if wanted.context is None and settings.context < default_context(shape.context):
        less.append(f"context {settings.context} instead of {default_context(shape.context)}")
    if wanted.parallel is None and settings.parallel < llama_cpp.most_sequences(shape, llama_cpp.SEQUENCES):
        less.append(f"{settings.parallel} sequences instead of {llama_cpp.most_sequences(shape, llama_cpp.SEQUENCES)}")
    if wanted.cells is None and settings.cells < WINDOWS * settings.context:
        less.append(f"{settings.cells} cells instead of {WINDOWS * settings.context}")
    if 0 < settings.gpu_layers <= len(shape.layers):
        less.append(f"{settings.gpu_layers} of {len(shape.layers)} layers on the GPU")
    return f"it needs {need}" + (f"; for want of memory {', '.join(less)}" if less else "")


# --- vLLM ---------------------------------------------------------------------------------------------------------------


def vllm_choice(shape: ModelShape, wanted: Wanted, budget: Budget) -> VllmChoice:
    """The fewest GPUs that hold it, with the longest context that then fits."""
    gpu = min(budget.devices, default=0)
    candidates = list(_vllm_candidates(shape, wanted, max(1, len(budget.devices))))
    fitting = [settings for settings in candidates if _vllm_fits(shape, settings, gpu)]
    settings = min(fitting, key=_vllm_preference) if fitting else candidates[-1]
    estimate = vllm.estimate(shape, settings)
    held = vllm.tokens(shape, settings, gpu=gpu)
    each = vllm.weight_bytes(shape, settings)
    if fitting:
        reason = f"{gib(each)} of weights on each of {settings.tensor_parallel} GPUs leave room for {held:,} tokens"
    else:
        missing = max(0, vllm.request_bytes(shape, settings) - vllm.kv_available(shape, settings, gpu=gpu))
        reason = f"{gib(missing)} are missing on each of {settings.tensor_parallel} GPUs of {gib(gpu)}"
    return VllmChoice(settings=settings, estimate=estimate, fits=bool(fitting), reason=reason)


def _vllm_candidates(shape: ModelShape, wanted: Wanted, gpus: int) -> Iterator[vllm.Settings]:
    trained = shape.context or UNKNOWN_CONTEXT
    for parallel in _halves(wanted.parallel, VLLM_SEQUENCES, VLLM_FEWEST):
        for context in _halves(wanted.context, trained, min(trained, LEAST_CONTEXT)):
            for tensor in range(1, gpus + 1):
                if shape.heads % tensor == 0:
                    yield vllm.Settings(context=context, sequences=parallel, tensor_parallel=tensor)


def _vllm_fits(shape: ModelShape, settings: vllm.Settings, gpu: int) -> bool:
    return vllm.kv_available(shape, settings, gpu=gpu) >= vllm.request_bytes(shape, settings)


def _vllm_preference(settings: vllm.Settings) -> tuple[bool, int, int, int]:
    """Enough context first, then few GPUs, then more sequences, then more context."""
    return settings.context < VLLM_CONTEXT, settings.tensor_parallel, -settings.sequences, -settings.context


def gib(size: int) -> str:
    """``4.6 GiB``."""
    return f"{size / GIB:.1f} GiB"
