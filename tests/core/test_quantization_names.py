"""Which quantization a file's name says, and which one is taken where the wanted one is not there."""

import pytest

from vllama_core import quantization_names
from vllama_core.gguf_types import FILE_TYPES


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("llama-2-7b.Q4_K_M.gguf", "Q4_K_M"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("nomic-embed-text-v1.5.f32.gguf", "F32"),
        ("BF16/Qwen3-32B-BF16-00001-of-00002.gguf", "BF16"),
        ("gemma-3-4b-it-qat-q4_0.gguf", "Q4_0"),
        ("x-IQ3_XXS.gguf", "IQ3_XXS"),
        ("model.gguf", None),
        ("x-Q4_0_4_4.gguf", None),
        ("Q8_0/model.gguf", None),
    ],
)
def test_file_names_say_it(file: str, quantization: str | None) -> None:
    assert quantization_names.of_file(file) == quantization


@pytest.mark.parametrize(
    ("wanted", "among", "taken"),
    [
        ("Q4_K_M", {"Q8_0", "Q4_K_M"}, "Q4_K_M"),
        ("Q4_K_M", {"Q8_0", "Q5_K_M", "Q4_K_S"}, "Q5_K_M"),
        ("Q4_K_M", {"Q4_K_L", "UD-Q4_K_XL", "Q5_K_S"}, "Q4_K_L"),
        ("Q4_K_M", {"UD-Q4_K_M", "Q4_K_L"}, "UD-Q4_K_M"),
        ("Q4_K_M", {"Q3_K_M", "Q2_K"}, "Q3_K_M"),
        ("F32", {"F16", "BF16"}, "F16"),
    ],
)
def test_the_nearest_better_one_is_taken_else_the_best(wanted: str, among: set[str], taken: str) -> None:
    assert quantization_names.nearest(wanted, among) == taken


def test_larger_mixes_stand_between_their_base_and_the_next() -> None:
    names = ["Q4_K_M", "Q4_K_L", "Q4_K_XL", "Q5_K_M", "Q6_K", "Q6_K_L", "Q8_0", "Q8_K_XL", "F16"]
    assert sorted(names, key=quantization_names.bits) == names


def test_every_quantization_that_a_header_can_name_is_known() -> None:
    """All but those that no hub publishes: experiments with one and two bits, and NVIDIA's four."""
    unknown = {name for name in FILE_TYPES.values() if quantization_names.parse(name) is None}
    assert unknown == {"NVFP4", "Q1_0"}
    assert all(quantization_names.bits(known) > 0 for name in FILE_TYPES.values() if (known := quantization_names.parse(name)))
