"""What libllama cannot load is known before it is downloaded."""

import re
import sys
from pathlib import Path

import pytest

from vllama_core import architectures
from vllama_core.gguf import GgufHeader, Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import llama_sdist


def header(architecture: str, tensor: str = "blk.0.attn_q.weight") -> GgufHeader:
    return GgufHeader(3, {"general.architecture": architecture}, (Tensor(tensor, (1,), "F32", 0, 4),), 32)


def test_the_list_is_that_of_the_pinned_version() -> None:
    source = llama_sdist.llama_cpp() / "src" / "llama-arch.cpp"
    table = source.read_text().partition("LLM_ARCH_NAMES = {")[2].partition("};")[0]
    assert set(re.findall(r'"([^"]+)"', table)) - {"clip", "(unknown)"} == architectures.NAMES


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt-oss", "nomic-bert"])
def test_known_architectures_pass(architecture: str) -> None:
    assert architectures.refusal(header(architecture)) is None


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (header("gptoss"), "'gptoss', which llama.cpp does not know"),
        (header("clip"), "'clip'"),
        (header(""), "not named"),
        (header("gemma3", "v.blk.0.attn_q.weight"), "encoder in the model's own file"),
        (header("mistral3", "mm.0.weight"), "encoder in the model's own file"),
    ],
)
def test_others_are_refused_with_a_reason(found: GgufHeader, why: str) -> None:
    assert why in (architectures.refusal(found) or "")
