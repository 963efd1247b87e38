"""Which of the agent's variables its children see."""

import pytest

from vllama_agent import child_environment

OURS = {"HF_TOKEN": "hf_x", "AWS_SECRET_ACCESS_KEY": "x", "VLLAMA_API_KEY": "x", "VLLM_API_KEY": "x", "PYTHONPATH": "/ours", "PATH": "/bin"}


def test_our_own_interpreter_finds_our_packages_and_no_secret() -> None:
    assert child_environment.without_secrets(OURS) == {"PYTHONPATH": "/ours", "PATH": "/bin"}


def test_another_program_finds_neither_and_asks_no_hub() -> None:
    assert child_environment.of_another_program(OURS) == {**child_environment.OFFLINE, "PATH": "/bin"}


@pytest.mark.parametrize("name", child_environment.OFFLINE)
def test_what_a_person_says_of_the_hub_wins(name: str) -> None:
    assert child_environment.of_another_program({name: "0"})[name] == "0"
