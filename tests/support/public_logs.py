"""What vLLM and llama.cpp logged about their memory on other people's GPUs, each with its source, beside what we compute for it.

Configurations are the models' published ones. docs/sizing.md shows this table; run this file to print it.
"""

from __future__ import annotations

from dataclasses import dataclass

import model_shapes as models

from vllama_core.sizing import llama_cpp, vllm
from vllama_core.sizing.shape import GIB, MIB, ModelShape

H100 = int(79.18 * GIB)
LLM_D = "https://github.com/llm-d/llm-d-benchmark/blob/4f4d44943c39b76b28e30dfa1fb0dfaf1ee894b5/config_explorer/empirical-vllm-memory-results.md"
VLLM, LLAMA_CPP, IK = (
    "https://github.com/vllm-project/vllm",
    "https://github.com/ggml-org/llama.cpp",
    "https://github.com/ikawrakow/ik_llama.cpp",
)
OLLAMA = "https://github.com/ollama/ollama"
CI = (
    "https://github.com/ggml-org/ci/blob/6a42ac325e4bdaeb151c28120338d27acc2c8457/llama.cpp/ff/0899c9b377fb71c7cd3281cdfb89f8dd7a033e/"
    "ggml-4-x86-cuda-v100/open_llama_7b_v2-tg-q4_k.log"
)
ORIN = (
    "https://github.com/SunOfHomeBoy/blogSrc/blob/8608947a5ed4192c4e1f54e727a6361bdcb73cbe/"
    "source/_posts/%E5%B7%A5%E4%BD%9C%E5%AD%A6%E4%B9%A0%E6%97%A5%E8%AE%B0/25%E5%B9%B4/5%E6%9C%88/"
    "GPU%E8%BF%90%E8%A1%8C%E6%97%A5%E5%BF%97%E5%88%86%E6%9E%90.md"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a log. Both values in GiB, or in tokens where the quantity says so."""

    source: str
    engine: str
    model: str
    quantity: str
    logged: float
    computed: float

    @property
    def off(self) -> float:
        """The computed value against the logged one: 0.02 = two percent more."""
        return self.computed / self.logged - 1


def _vllm(source: str, model: str, quantity: str, logged: float, computed: float) -> Figure:
    return Figure(source=source, engine="vLLM", model=model, quantity=quantity, logged=logged, computed=computed)


def _llama_cpp(source: str, model: str, quantity: str, logged: float, computed: float) -> Figure:
    return Figure(source=source, engine="llama.cpp", model=model, quantity=quantity, logged=logged, computed=computed)


def _weights(shape: ModelShape, gpus: int = 1) -> float:
    return vllm.weight_bytes(shape, _settings(gpus)) / GIB


def _settings(
    gpus: int = 1, *, context: int = 16000, sequences: int = 256, utilization: float = 0.9, kv_type: str = "auto"
) -> vllm.Settings:
    return vllm.Settings(context=context, sequences=sequences, tensor_parallel=gpus, utilization=utilization, kv_type=kv_type)


def _on_h100(shape: ModelShape, gpus: int = 1) -> float:
    """GPUs of 70 GiB and more get 1,024 sequences from vLLM."""
    return vllm.kv_available(shape, _settings(gpus, sequences=1024), gpu=H100) / GIB


def _tokens(shape: ModelShape, kv_gib: float, gpus: int = 1, *, context: int) -> float:
    """Tokens that so much KV cache holds."""
    settings = _settings(gpus, context=context)
    return kv_gib * GIB * context / vllm.request_bytes(shape, settings)


def _fork(source: str, model: str, quantity: str, logged: float, computed: float) -> Figure:
    return Figure(source=source, engine="ik_llama.cpp", model=model, quantity=quantity, logged=logged, computed=computed)


def _kv(shape: ModelShape, cells: int, cache_type: str = "f16") -> float:
    settings = llama_cpp.Settings(context=cells, cells=cells, parallel=1, cache_type_k=cache_type, cache_type_v=cache_type)
    return llama_cpp.kv_bytes(shape, settings) / GIB


LLAMA3_8B = models.hugging_face(models.LLAMA3_8B)
QWEN3_32B = models.hugging_face(models.QWEN3_32B)
QWEN3_06B = models.hugging_face(models.QWEN3_06B)
LLAMA3_70B_FP8 = models.hugging_face(models.LLAMA3_70B, bits=lambda name, layer: 8)
GPT_OSS_20B = models.hugging_face(models.GPT_OSS_20B, bits=lambda name, layer: 4.25 if "exps" in name else 16)
GPT_OSS_120B = models.hugging_face(models.GPT_OSS_120B, bits=lambda name, layer: 4.25 if "exps" in name else 16)
# Meta left attention, and the first and the last layer, in 16 bits
LLAMA3_405B_FP8 = models.hugging_face(models.LLAMA3_405B, bits=lambda name, layer: 8 if "ffn" in name and 0 < layer < 125 else 16)
QWEN25_7B_INT4 = models.hugging_face(models.QWEN25_7B, bits=lambda name, layer: 4.156)  # groups of 128 with a scale and a zero
QWEN25_14B, QWEN25_32B = models.hugging_face(models.QWEN25_14B), models.hugging_face(models.QWEN25_32B)
QWEN3_4B, LLAMA2_7B = models.hugging_face(models.QWEN3_4B), models.hugging_face(models.LLAMA2_7B)
QWEN3_235B, QWEN3_CODER = models.hugging_face(models.QWEN3_235B), models.hugging_face(models.QWEN3_CODER_480B)
DEEPSEEK_V2_LITE = models.hugging_face(models.DEEPSEEK_V2_LITE)

OPEN_LLAMA = models.gguf(models.LLAMA2_7B, types=models.q4_k_m(32))
QWEN3_06B_GGUF = models.gguf(models.QWEN3_06B, types=models.q4_k_m(28), architecture="qwen3")
MIXTRAL = models.gguf(models.MIXTRAL, types=models.q4_0_of_experts)
LLAMA3_70B_GGUF = models.gguf(models.LLAMA3_70B, types=models.q4_0)
DEEPSEEK_R1 = models.gguf(
    models.config(7168, 18432, 61, 128, 1, 129280, head=576),
    types=models.q4_0,
    architecture="deepseek2",
    **{"attention.key_length_mla": 192},
)
QWEN36_27B = models.gguf(
    models.config(5120, 17408, 64, 24, 4, 248320, head=256),
    types=models.q4_k_m(64),
    architecture="qwen35",
    recurrent=lambda layer: layer % 4 != 3,
    **{"ssm.inner_size": 6144, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.conv_kernel": 4},
)

FIGURES = (
    _vllm(LLM_D, "gpt-oss-20b", "weights", 13.47, _weights(GPT_OSS_20B)),
    _vllm(LLM_D, "gpt-oss-20b on an H100", "KV cache", 50.28, _on_h100(GPT_OSS_20B)),
    _vllm(LLM_D, "gpt-oss-120b", "weights", 64.38, _weights(GPT_OSS_120B)),
    _vllm(LLM_D, "Llama 3.3 70B FP8, 2 GPUs", "weights", 33.88, _weights(LLAMA3_70B_FP8, 2)),
    _vllm(LLM_D, "Llama 3.3 70B FP8 on 2 H100", "KV cache", 32.0, _on_h100(LLAMA3_70B_FP8, 2)),
    _vllm(LLM_D, "Llama 3.3 70B FP8, 1 GPU", "weights", 67.72, _weights(LLAMA3_70B_FP8)),
    _vllm(LLM_D, "Llama 3.1 8B", "weights", 14.99, _weights(LLAMA3_8B)),
    _vllm(LLM_D, "Llama 3.1 8B on an H100", "KV cache", 51.38, _on_h100(LLAMA3_8B)),
    _vllm(LLM_D, "Qwen3 0.6B", "weights", 1.12, _weights(QWEN3_06B)),
    _vllm(LLM_D, "Qwen3 0.6B on an H100", "KV cache", 64.45, _on_h100(QWEN3_06B)),
    _vllm(LLM_D, "Qwen3 32B, 1 GPU", "weights", 61.03, _weights(QWEN3_32B)),
    _vllm(LLM_D, "Qwen3 32B on an H100", "KV cache", 4.45, _on_h100(QWEN3_32B)),
    _vllm(LLM_D, "Qwen3 32B, 2 GPUs", "weights", 30.59, _weights(QWEN3_32B, 2)),
    _vllm(LLM_D, "Qwen3 32B on 2 H100", "KV cache", 34.49, _on_h100(QWEN3_32B, 2)),
    _vllm(f"{VLLM}/issues/10517", "Llama 3.1 8B on an RTX 3090", "weights", 14.9888, _weights(LLAMA3_8B)),
    _vllm(f"{VLLM}/issues/10517", "Llama 3.1 8B", "tokens in 3.81 GiB", 1952 * 16, _tokens(LLAMA3_8B, 3.81, context=20000)),
    _vllm(f"{VLLM}/issues/15815", "Qwen2.5 32B on 2 L40S", "weights", 30.7098, _weights(QWEN25_32B, 2)),
    _vllm(f"{VLLM}/issues/15815", "Qwen2.5 32B on 2 L40S", "tokens in 7.71 GiB", 3947 * 16, _tokens(QWEN25_32B, 7.71, 2, context=10000)),
    _vllm(f"{VLLM}/issues/21348", "Qwen3 235B on 4 H100", "tokens in 8.11 GiB", 178_880, _tokens(QWEN3_235B, 8.11, 4, context=40960)),
    _vllm(f"{VLLM}/pull/10511", "Llama 3 8B, 2 GPUs", "weights", 7.48, _weights(LLAMA3_8B, 2)),
    _vllm(f"{VLLM}/pull/2031", "Llama 2 7B on an A100", "tokens", 7351 * 16,
          vllm.tokens(LLAMA2_7B, _settings(context=4096), gpu=int(79.15 * GIB))),
    _vllm(f"{VLLM}/issues/15871", "DeepSeek-V2-Lite (MLA)", "KV of 32,768 tokens", 0.95,
          vllm.request_bytes(DEEPSEEK_V2_LITE, _settings(context=32768)) / GIB),
    _vllm("https://github.com/vllm-project/recipes/pull/12", "Qwen3-Coder 480B", "KV of 262,144 tokens", 62.0,
          vllm.request_bytes(QWEN3_CODER, _settings(context=262144)) / GIB),
    _vllm(f"{VLLM}/issues/13061", "R1-Distill-Qwen-14B on 2 RTX 4090", "weights", 13.9476, _weights(QWEN25_14B, 2)),
    _vllm(f"{VLLM}/issues/6746", "Llama 3.1 405B FP8 on 8 H100", "weights", 57.752, _weights(LLAMA3_405B_FP8, 8)),
    _vllm(f"{VLLM}/issues/13882", "Qwen2.5 7B in 4 bits on an RTX 4060", "weights", 5.2032, _weights(QWEN25_7B_INT4)),
    _vllm("https://github.com/kyuz0/amd-strix-halo-vllm-toolboxes/pull/5", "Qwen3 4B", "weights", 7.6785, _weights(QWEN3_4B)),
    _llama_cpp(CI, "open_llama 7B Q4_K_M on a V100", "weights", (3820.93 + 70.42) * MIB / GIB, OPEN_LLAMA.weights.total / GIB),
    _llama_cpp(CI, "open_llama 7B Q4_K_M on a V100", "KV of 2,048 tokens", 1.0, _kv(OPEN_LLAMA, 2048)),
    _llama_cpp(ORIN, "Qwen3 0.6B Q4_K_M on an Orin", "weights", 456.11 * MIB / GIB, QWEN3_06B_GGUF.weights.total / GIB),
    _llama_cpp(ORIN, "Qwen3 0.6B Q4_K_M on an Orin", "KV of 4,096 tokens", 448 * MIB / GIB, _kv(QWEN3_06B_GGUF, 4096)),
    _llama_cpp(f"{LLAMA_CPP}/issues/4381", "Mixtral 8x7B", "KV of 512 tokens", 64 * MIB / GIB, _kv(MIXTRAL, 512)),
    _llama_cpp(f"{OLLAMA}/issues/2266", "Mixtral 8x7B Q4_0", "weights", 24.62, MIXTRAL.weights.total / GIB),
    _llama_cpp(f"{OLLAMA}/pull/6279", "Llama 3.1 70B Q4_0", "weights", 37.22, LLAMA3_70B_GGUF.weights.total / GIB),
    _fork(f"{IK}/pull/259", "DeepSeek-R1 (MLA), q8_0 cache", "KV of 32,768 tokens", 1166.62 * MIB / GIB, _kv(DEEPSEEK_R1, 32768, "q8_0")),
    _llama_cpp(f"{LLAMA_CPP}/pull/23792", "Qwen3.6 27B (hybrid)", "states of 3 sequences", 448.88 * MIB / GIB, 3 * QWEN36_27B.state / GIB),
)  # fmt: skip


def rows() -> list[str]:
    """The rows of the table in docs/sizing.md."""
    made = []
    for figure in FIGURES:
        digits = 0 if "tokens" in figure.quantity and not figure.quantity.startswith("KV") else 2
        logged, computed = f"{figure.logged:,.{digits}f}", f"{figure.computed:,.{digits}f}"
        made.append(
            f"| {figure.engine} | [{figure.model}]({figure.source}) | {figure.quantity} | {logged} | {computed} | {figure.off:+.1%} |"
        )
    return made


if __name__ == "__main__":
    print("\n".join(rows()))
