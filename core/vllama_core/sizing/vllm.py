"""What a model takes in vLLM, on each of its GPUs, for given settings. Sizes in bytes.

vLLM takes `gpu_memory_utilization` of each GPU: weights, the peak of activations that it measures at start, what CUDA and NCCL keep; the
rest becomes KV cache. https://docs.vllm.ai/en/latest/configuration/conserving_memory.html
"""

from __future__ import annotations

from dataclasses import dataclass

from vllama_core.sizing.llama_cpp import Estimate, Part
from vllama_core.sizing.shape import GIB, MIB, Layer, ModelShape

KV_VALUE = {"auto": 2, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""Bytes per value of `--kv-cache-dtype`; auto follows the weights' 16 bits."""
BLOCK = 16
"""Tokens of a KV block."""
BATCHED_TOKENS = 8192
"""`max_num_batched_tokens`: a windowed layer holds so many tokens beyond its window while a prompt is computed."""
SAMPLER_COPIES = 9.6
"""Rows of logits, 32-bit floats, that the profiling run holds per sequence: 9.5 to 9.9 in public logs of five models."""
NOT_TORCH = 140 * MIB
"""What CUDA keeps besides PyTorch's memory, on one GPU."""
COLLECTIVE = 420 * MIB
"""What NCCL adds where several GPUs work together."""
HOST = 6 * GIB
"""The machine's memory that vLLM's processes take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What vLLM is started with.

    :ivar context: `max_model_len`.
    :ivar sequences: `max_num_seqs`.
    :ivar tensor_parallel: GPUs that share each layer.
    :ivar utilization: `gpu_memory_utilization`.
    """

    context: int
    sequences: int
    tensor_parallel: int = 1
    utilization: float = 0.9
    kv_type: str = "auto"


def token_bytes(layer: Layer, settings: Settings) -> int:
    """What a token takes in a layer, on each GPU. Heads are shared out, and where there are fewer than GPUs each has a whole one; a
    latent vector is on every GPU."""
    value = KV_VALUE[settings.kv_type]
    if layer.latent:
        return layer.key * value
    heads = -(-layer.kv_heads // settings.tensor_parallel)
    return heads * (layer.key + layer.value) * value


def request_bytes(shape: ModelShape, settings: Settings) -> int:
    """KV cache of one request that fills its context, on each GPU. Windowed layers keep their window and what is being computed."""
    blocks = -(-settings.context // BLOCK) * BLOCK
    kept = (
        token_bytes(layer, settings) * (min(blocks, layer.window + BATCHED_TOKENS) if layer.window else blocks) for layer in shape.layers
    )
    return sum(kept) + -(-shape.state // settings.tensor_parallel)


def weight_bytes(shape: ModelShape, settings: Settings) -> int:
    """On each GPU."""
    return -(-shape.weights.total // settings.tensor_parallel)


def activation_bytes(shape: ModelShape, settings: Settings) -> int:
    """The peak of the profiling run: its sampler's, which holds full rows of logits for every sequence, or its widest layer's."""
    sampler = int(SAMPLER_COPIES * settings.sequences * shape.vocabulary * 4)
    widest = max(shape.feed_forward, shape.experts * shape.expert_width)
    layer = BATCHED_TOKENS * (3 * widest // settings.tensor_parallel + 4 * shape.embedding) * 2
    return max(sampler, layer)


def overhead_bytes(settings: Settings) -> int:
    """What is no tensor of PyTorch's, on each GPU."""
    return NOT_TORCH + (COLLECTIVE if settings.tensor_parallel > 1 else 0)


def kv_available(shape: ModelShape, settings: Settings, *, gpu: int) -> int:
    """What is left for the KV cache on each GPU; negative = so much is missing.

    :param gpu: bytes of one GPU.
    """
    taken = weight_bytes(shape, settings) + activation_bytes(shape, settings) + overhead_bytes(settings)
    return int(gpu * settings.utilization) - taken


def tokens(shape: ModelShape, settings: Settings, *, gpu: int) -> int:
    """Tokens that the KV cache holds: vLLM's "GPU KV cache size"."""
    one = request_bytes(shape, settings)
    return max(0, kv_available(shape, settings, gpu=gpu)) * settings.context // one if one else 0


def bytes_for(shape: ModelShape, settings: Settings, held: int) -> int:
    """What it takes on each GPU to hold so many tokens in the KV cache.

    :param held: tokens of all requests together.
    """
    cache = request_bytes(shape, settings) * held // settings.context
    return weight_bytes(shape, settings) + activation_bytes(shape, settings) + overhead_bytes(settings) + cache


def estimate(shape: ModelShape, settings: Settings) -> Estimate:
    """The least that must be there: one request that fills its context. On all GPUs together."""
    gpus = settings.tensor_parallel
    return Estimate(
        (
            Part(name="weights", device=weight_bytes(shape, settings) * gpus),
            Part(name="KV cache of one full request", device=request_bytes(shape, settings) * gpus),
            Part(name="activations", device=activation_bytes(shape, settings) * gpus),
            Part(name="CUDA and NCCL", device=overhead_bytes(settings) * gpus),
            Part(name="vLLM's processes", host=HOST),
        )
    )
