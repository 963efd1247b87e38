"""Names of quantizations, and what making one takes on disk."""

import pytest

from vllama_core import quantization
from vllama_core.errors import ConfigError
from vllama_core.gguf_types import FILE_TYPES


@pytest.mark.parametrize("text", ["Q4_K_M", "q4_k_m", " Q4_K_M "])
def test_case_does_not_count(text: str) -> None:
    assert quantization.parse(text).name == "Q4_K_M"


@pytest.mark.parametrize("text", ["", "Q4", "IQ2_XXS", "4bit"])
def test_another_one_is_refused_with_those_that_can_be_had(text: str) -> None:
    with pytest.raises(ConfigError, match=r"BF16, F16, F32, Q4_K_M, Q5_K_M, Q6_K, Q8_0") as caught:
        quantization.parse(text)
    assert repr(text) in str(caught.value)


def test_every_number_is_the_one_that_files_show() -> None:
    assert {entry.file_type: entry.name for entry in quantization.TABLE}.items() <= FILE_TYPES.items()


def test_the_default_is_one_of_them() -> None:
    assert quantization.parse(quantization.DEFAULT).direct is None


@pytest.mark.parametrize("name", ["Q4_K_M", "Q5_K_M", "Q8_0", "F16"])
def test_a_conversion_takes_at_most_a_little_more_than_the_16_bit_file(name: str) -> None:
    parameters = 1_000_000
    needed = quantization.disk_needed(parameters, quantization.parse(name))
    assert needed <= 1.4 * parameters * 2


def test_k_quants_need_the_16_bit_file_beside_the_result() -> None:
    assert quantization.disk_needed(1_000_000, quantization.parse("Q4_K_M")) > 2_000_000 + 4.5 / 8 * 1_000_000
