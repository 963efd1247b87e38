"""Arguments of vLLM that are the agent's own."""

import pytest

from vllama_core.vllm_arguments import refusal


@pytest.mark.parametrize("argument", ["--api-key", "--reasoning-parser=qwen3", "--max_model_len", "--max-model=5", "--po", "--hea"])
def test_one_that_is_the_agents_is_refused_by_any_name_that_vllm_takes_it_by(argument: str) -> None:
    assert refusal(argument)


@pytest.mark.parametrize(
    "argument", ["--enforce-eager", "--dtype=half", "--model-impl", "--config-format", "half", "-O3", "--", "-p", "8000"]
)
def test_others_and_values_are_not(argument: str) -> None:
    assert refusal(argument) is None
