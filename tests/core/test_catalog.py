"""Names that people type, and the repositories that they stand for."""

import pytest

from vllama_core import catalog
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName, ModelRef


def entry(text: str) -> catalog.Entry | None:
    name = ModelName.parse(text)
    assert name is not None
    return catalog.builtin().find(name)


@pytest.mark.parametrize(
    ("text", "gguf", "quantization"),
    [
        ("llama3.2", "bartowski/Llama-3.2-3B-Instruct-GGUF", None),
        ("llama3.2:3b", "bartowski/Llama-3.2-3B-Instruct-GGUF", None),
        ("LLAMA3.2:1B", "bartowski/Llama-3.2-1B-Instruct-GGUF", None),
        ("llama3.2:3b-instruct-q8_0", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Q8_0"),
        ("llama3.2:3b-q5_K_M", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Q5_K_M"),
        ("llama3.2:q6_K", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Q6_K"),
        ("gemma3:4b-it", "ggml-org/gemma-3-4b-it-GGUF", None),
        ("gemma3:4b-it-fp16", "ggml-org/gemma-3-4b-it-GGUF", "F16"),
        ("qwen3:0.6b", "unsloth/Qwen3-0.6B-GGUF", None),
        ("qwen3:30b-a3b", "unsloth/Qwen3-30B-A3B-GGUF", None),
        ("nomic-embed-text", "nomic-ai/nomic-embed-text-v1.5-GGUF", None),
        ("registry.ollama.ai/library/phi4", "bartowski/phi-4-GGUF", None),
    ],
)
def test_names_that_people_type(text: str, gguf: str, quantization: str | None) -> None:
    found = entry(text)
    assert found is not None
    assert (found.gguf, found.quantization) == (gguf, quantization)


@pytest.mark.parametrize(
    "text", ["llama3.2:90b", "nothing", "alice/llama3.2", "ollama.com/alice/llama3.2", "gemma3:270m-base", "qwen3:8b-text"]
)
def test_names_that_stand_for_nothing_here(text: str) -> None:
    """`gemma3:270m-base` is the demo model, which no repository holds; a base model (`-text`) is not the one that chats."""
    assert entry(text) is None


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [("lama3.2", "llama3.2"), ("quen3", "qwen3"), ("mistrl", "mistral"), ("llama3.2:90b", "llama3.2:1b"), ("granite", "granite4")],
)
def test_near_names_are_suggested(text: str, suggestion: str) -> None:
    name = ModelName.parse(text)
    assert name is not None
    assert suggestion in catalog.builtin().near(name)


def test_there_are_about_sixty_families_with_licence_and_context() -> None:
    families = catalog.builtin().families
    assert len(families) >= 60
    assert all(family.license and family.context >= 512 for family in families.values())


def test_every_name_of_it_is_a_name_and_every_repository_one_of_the_hub() -> None:
    for model, family in catalog.builtin().families.items():
        for size, repositories in family.sizes.items():
            assert entry(f"{model}:{size}") is not None
            assert all(ModelRef.parse(repository).hub is not None for repository in repositories)


def test_a_users_catalogue_adds_sizes_and_wins() -> None:
    mine = catalog.parse("qwen3:\n  latest: 4b\n  sizes:\n    4b: me/qwen\n    mine: [me/gguf, me/original]\n", where="mine")
    both = mine.over(catalog.builtin())
    for text, gguf in (
        ("qwen3", "me/qwen"),
        ("qwen3:mine", "me/gguf"),
        ("qwen3:8b", "unsloth/Qwen3-8B-GGUF"),
        ("phi4", "bartowski/phi-4-GGUF"),
    ):
        name = ModelName.parse(text)
        assert name is not None
        found = both.find(name)
        assert found is not None
        assert found.gguf == gguf


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[", "mine is not readable as YAML"),
        ("- a", "must be a mapping of model names"),
        ("a: b", "mine: a must have `sizes`"),
        ("a: {sizes: {1b: x}}", "mine: a: 1b is 'x'; it must be owner/name"),
        ("a: {sizes: {1b: [x/y]}}", "mine: a: 1b is"),
        ("a: {sizes: {1b: ../y}}", "mine: a: 1b is"),
        ("a: {sizes: {1b: x/y}, latest: 2b}", "latest is '2b', which is none of its sizes: 1b"),
        ("a: {sizes: {1b: x/y}, context: many}", "context is 'many'"),
        ("a: {sizes: {1b: x/y}, size: 1}", "unknown field 'size'"),
    ],
)
def test_mistakes_in_a_users_catalogue_are_told(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as told:
        catalog.parse(text, where="mine")
    assert what in str(told.value)


def test_an_empty_catalogue_is_one() -> None:
    assert catalog.parse("", where="mine") == catalog.Catalog()
