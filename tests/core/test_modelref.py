"""References and names: what is a path, what is a name, and when two names mean one model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import modelref
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName, ModelRef


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("gemma3:270m-base", "gemma3:270m-base"),
        ("library/gemma3:4b", "gemma3:4b"),
        ("alice/model", "alice/model:latest"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest"),
        ("registry.ollama.ai/library/x:1", "x:1"),
        ("hf.co/a/b", "hf.co/a/b:latest"),
        ("hf.co/a/b:Q4_K_M", "hf.co/a/b:Q4_K_M"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
    ],
)
def test_names_are_shown_in_their_shortest_form(text: str, display: str) -> None:
    name = ModelName.parse(text)
    assert name is not None
    assert name.display == display
    assert ModelName.parse(display) == name


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a:", ":b", "/a", "a/", "a//b", "a/b/c/d", "../a", "a/../b", "-a", ".a", "a:b:c", "a\n", "é"]
)
def test_what_is_no_name(text: str) -> None:
    assert ModelName.parse(text) is None


@pytest.mark.parametrize("other", ["GEMMA3", "gemma3:LATEST", "library/Gemma3", "registry.ollama.ai/library/gemma3"])
def test_case_and_implied_parts_do_not_count(other: str) -> None:
    first, second = ModelName.parse("gemma3"), ModelName.parse(other)
    assert first is not None
    assert second is not None
    assert first.key == second.key


@pytest.mark.parametrize("text", ["/models/a.gguf", "./a", "../a", "~/a", ".", "..", "a.gguf", "sub/A.GGUF"])
def test_paths_are_told_from_names(text: str) -> None:
    assert ModelRef.parse(text) == ModelRef(path=text)


@pytest.mark.parametrize("text", ["https://example.com/a.gguf", "s3://a/b", "oci://a", "pvc://a/b", "a b", ""])
def test_anything_else_is_told_what_can_be_given(text: str) -> None:
    with pytest.raises(ConfigError, match=r"give a GGUF file, a folder .* or gemma3:270m-base"):
        ModelRef.parse(text)


@given(st.text(max_size=40))
def test_every_text_is_a_reference_or_a_sentence(text: str) -> None:
    try:
        ref = ModelRef.parse(text)
    except ConfigError:
        return
    assert (ref.path is None) != (ref.name is None)


@given(st.text(min_size=1, max_size=200))
def test_every_file_has_a_name(stem: str) -> None:
    name = modelref.name_from_stem(stem)
    assert ModelName.parse(name.display) == name


def test_files_keep_their_spelling() -> None:
    assert modelref.name_from_stem("Llama-3.2-1B (my own)").display == "Llama-3.2-1B-my-own-:latest"
