"""Tokens are those of the models' own tokenizers: llama.cpp's source keeps texts for each vocabulary, and what its tokenizer on the Hugging
Face hub made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import llama_sdist  # it lies in tools/
from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.text import Vocabulary

MODELS = llama_sdist.llama_cpp() / "models"
VOCABULARIES = sorted(file.with_suffix("") for file in MODELS.glob("ggml-vocab-*.gguf.inp"))
SEPARATOR = "\n__ggml_vocab_test__\n"
LOSSY = {"ggml-vocab-bert-bge"}
"""Vocabularies that forget capitals and spaces."""


@pytest.fixture(params=VOCABULARIES, ids=lambda file: file.stem)
def vocabulary(request: pytest.FixtureRequest) -> tuple[Path, Vocabulary]:
    lib.start(lambda _line: None)
    return request.param, Vocabulary((request.param,))


def kept(file: Path) -> list[tuple[str, list[int]]]:
    """(text, its tokens) of a vocabulary."""
    texts = Path(f"{file}.inp").read_bytes().decode().removesuffix(SEPARATOR).split(SEPARATOR)
    lines = Path(f"{file}.out").read_text(encoding="utf-8").splitlines()
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=True)]


def test_there_are_vocabularies_of_every_kind() -> None:
    assert {"ggml-vocab-llama-spm", "ggml-vocab-llama-bpe", "ggml-vocab-bert-bge", "ggml-vocab-gemma-4"} <= {v.stem for v in VOCABULARIES}


def test_texts_become_the_tokens_of_the_models_own_tokenizer(vocabulary: tuple[Path, Vocabulary]) -> None:
    file, found = vocabulary
    cases = kept(file)
    assert len(cases) > 40
    different = [
        (text, wanted) for text, wanted in cases if found.tokenize(text.encode(), add_special=False, parse_special=False) != wanted
    ]
    assert different == []


def test_tokens_become_the_texts_again(vocabulary: tuple[Path, Vocabulary]) -> None:
    file, found = vocabulary
    if file.stem in LOSSY:
        pytest.skip("this vocabulary keeps neither capitals nor spaces")
    for text, tokens in kept(file):
        assert found.detokenize(tokens).decode() in (text, f" {text}")  # sentencepiece puts a space before the first word
