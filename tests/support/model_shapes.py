"""Shapes of well-known models, made of their published configurations the way their files' headers would make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllama_core.gguf import GgufHeader, Tensor
from vllama_core.gguf_types import TENSOR_TYPES
from vllama_core.safetensors import SafetensorsHeader
from vllama_core.sizing import gguf_shape, hf_shape
from vllama_core.sizing.shape import ModelShape

BLOCKS = {name: (elements, size) for name, elements, size in TENSOR_TYPES.values()}


def config(
    hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, vocabulary: int, *, head: int = 0, context: int = 131072,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A `config.json`."""
    return {
        "architectures": ["TestForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "head_dim": head or hidden // heads,
        "max_position_embeddings": context,
        **more,
    }


LLAMA2_7B = config(4096, 11008, 32, 32, 32, 32000, context=4096)
LLAMA3_8B = config(4096, 14336, 32, 32, 8, 128256)
LLAMA3_70B = config(8192, 28672, 80, 64, 8, 128256)
LLAMA3_405B = config(16384, 53248, 126, 128, 8, 128256)
QWEN25_7B = config(3584, 18944, 28, 28, 4, 152064, context=32768)
QWEN25_14B = config(5120, 13824, 48, 40, 8, 152064)
QWEN25_32B = config(5120, 27648, 64, 40, 8, 152064, context=32768)
QWEN3_06B = config(1024, 3072, 28, 16, 8, 151936, head=128, context=40960, tie_word_embeddings=True)
QWEN3_4B = config(2560, 9728, 36, 32, 8, 151936, head=128, context=40960, tie_word_embeddings=True)
QWEN3_32B = config(5120, 25600, 64, 64, 8, 151936, head=128, context=40960)
QWEN3_235B = config(4096, 12288, 94, 64, 4, 151936, head=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=1536)
QWEN3_CODER_480B = config(
    6144, 8192, 62, 96, 8, 151936, head=128, context=262144, num_experts=160, num_experts_per_tok=8, moe_intermediate_size=2560
)
MIXTRAL = config(4096, 14336, 32, 32, 8, 32000, context=32768, num_local_experts=8, num_experts_per_tok=2)
DEEPSEEK_V2_LITE = config(2048, 10944, 27, 16, 16, 102400, context=163840, kv_lora_rank=512, qk_rope_head_dim=64)
_ALTERNATING = {"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 18}
GPT_OSS_20B = config(2880, 2880, 24, 64, 8, 201088, head=64, num_local_experts=32, num_experts_per_tok=4, **_ALTERNATING)
GPT_OSS_120B = config(2880, 2880, 36, 64, 8, 201088, head=64, num_local_experts=128, num_experts_per_tok=4, **_ALTERNATING)


def _matrices(config: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """(inputs, outputs, how many) of one layer's matrices, by llama.cpp's names."""
    wide, head = config["hidden_size"], config["head_dim"]
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    width = config.get("moe_intermediate_size", config["intermediate_size"]) if experts else config["intermediate_size"]
    kind = "_exps" if experts else ""
    found = {
        "attn_q": (wide, config["num_attention_heads"] * head, 1),
        "attn_k": (wide, config["num_key_value_heads"] * head, 1),
        "attn_v": (wide, config["num_key_value_heads"] * head, 1),
        "attn_output": (config["num_attention_heads"] * head, wide, 1),
        f"ffn_gate{kind}": (wide, width, max(1, experts)),
        f"ffn_up{kind}": (wide, width, max(1, experts)),
        f"ffn_down{kind}": (width, wide, max(1, experts)),
    }
    return found | ({"ffn_gate_inp": (wide, experts, 1)} if experts else {})


def hugging_face(config: dict[str, Any], *, bits: Callable[[str, int], float] = lambda name, layer: 16) -> ModelShape:
    """As its safetensors files would say.

    :param bits: per weight, by a matrix's name in a layer.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}

    def put(name: str, count: int, width: float) -> None:
        shapes[name], sizes[name] = (count,), int(count * width / 8)

    put("model.embed_tokens.weight", config["vocab_size"] * config["hidden_size"], 16)
    if not config.get("tie_word_embeddings"):
        put("lm_head.weight", config["vocab_size"] * config["hidden_size"], 16)
    for layer in range(config["num_hidden_layers"]):
        for name, (inputs, outputs, count) in _matrices(config).items():
            put(f"model.layers.{layer}.{name}.weight", inputs * outputs * count, bits(name, layer))
    header = SafetensorsHeader(shapes=shapes, data_end=sum(sizes.values()), types=dict.fromkeys(sizes, "BF16"), sizes=sizes)
    return hf_shape.shape_of(config, [header])


def gguf(
    config: dict[str, Any],
    *,
    types: Callable[[str, int], str],
    architecture: str = "llama",
    tied: bool = False,
    recurrent: Callable[[int], bool] = lambda layer: False,
    **metadata: Any,
) -> ModelShape:
    """As its GGUF file would say.

    :param types: of a matrix by its name and layer; -1 for `token_embd` and `output`.
    :param recurrent: layers that have a state instead of keys and values.
    """
    return gguf_shape.shape_of([header(config, types=types, architecture=architecture, tied=tied, recurrent=recurrent, **metadata)])


def header(
    config: dict[str, Any],
    *,
    types: Callable[[str, int], str],
    architecture: str,
    tied: bool = False,
    recurrent: Callable[[int], bool] = lambda layer: False,
    **metadata: Any,
) -> GgufHeader:
    """The header that `gguf` reads."""
    tensors: list[Tensor] = []

    def put(name: str, shape: tuple[int, ...], kind: str) -> None:
        count = 1
        for side in shape:
            count *= side
        elements, size = BLOCKS[kind]
        tensors.append(Tensor(name, shape, kind, 0, count // elements * size))

    wide, vocabulary = config["hidden_size"], config["vocab_size"]
    for name in ("token_embd", *(() if tied else ("output",))):
        put(f"{name}.weight", (wide, vocabulary), types(name, -1))
    for layer in range(config["num_hidden_layers"]):
        for name, (inputs, outputs, count) in _matrices(config).items():
            kind = "F32" if name == "ffn_gate_inp" else types(name, layer)
            if recurrent(layer) and name in ("attn_k", "attn_v"):
                continue
            name = {"attn_q": "attn_qkv", "attn_output": "ssm_out"}.get(name, name) if recurrent(layer) else name
            put(f"blk.{layer}.{name}.weight", (inputs, outputs, count) if count > 1 else (inputs, outputs), kind)
    keys = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": wide,
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "expert_used_count": config.get("num_experts_per_tok", 0),
        **metadata,
    }
    named = {f"{architecture}.{key}": value for key, value in keys.items()}
    return GgufHeader(3, {"general.architecture": architecture, "general.file_type": 15, **named}, tuple(tensors), 0)


def q4_k_m(layers: int) -> Callable[[str, int], str]:
    """llama.cpp's mixture: half of the values and of the second feed-forward matrices, and the output, in six bits.
    https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp, `use_more_bits`"""

    def kind(name: str, layer: int) -> str:
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        return "Q6_K" if name == "output" or (layer >= 0 and name in ("attn_v", "ffn_down") and more) else "Q4_K"

    return kind


def q4_0(name: str, layer: int) -> str:
    """The output in six bits."""
    return "Q6_K" if name == "output" else "Q4_0"


def q4_0_of_experts(name: str, layer: int) -> str:
    """As `q4_0`; keys and values of a mixture of eight experts in eight bits."""
    return "Q8_0" if name in ("attn_k", "attn_v") else q4_0(name, layer)
