"""Decisions about a conversion: which files of a snapshot the converter may see, what the model is called, and what a failure means.

Pure. Files of strangers can hold programs: Python sources that transformers would import, and pickles. The converter gets a view of the
snapshot without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from vllama_agent.engines.llama_cpp.version import PINNED
from vllama_core.errors import ConfigError

RECIPE = 1
"""Raised when the same converter is asked in another way, so that results of before are not taken for those of now."""
CONVERTER = f"llama.cpp of llama-cpp-python {PINNED}, recipe {RECIPE}"

PICKLED = re.compile(r"pytorch_model(?:-\d{5}-of-\d{5})?\.bin")
"""What transformers called its weights before safetensors, and the only pickles that llama.cpp's converter reads."""
OTHER_WEIGHTS = (
    "take a repository with safetensors, or read them all the same, their tensors and nothing else: `vllama pull --allow-pickle NAME`"
)
SEEN = (".json", ".safetensors", ".model", ".txt", ".tiktoken", ".jinja", ".md", ".bpe", ".vocab", ".yaml", ".yml")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SNAPSHOT = re.compile(r"models--(?P<repo>.+)")
_UNSUPPORTED = re.compile(r"Model (\S+) is not supported")
_CHECKSUM = re.compile(r"chkhsh:\s*(\w+)")
ELSEWHERE = (
    "a repository that holds GGUF files of it (often called <name>-GGUF) may serve, made by a newer converter; "
    "an engine that loads Hugging Face files does not need one: --format hf"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a conversion ended.

    :ivar kind: the exception's type; empty if the process ended without one.
    :ivar log: the converter's last warnings and errors, or the last lines that it wrote.
    """

    kind: str
    message: str
    log: tuple[str, ...] = ()


def model_name(snapshot: PurePath) -> str:
    """What the model is called: the repository's name, if the folder lies in the Hugging Face cache, else the folder's."""
    for part in reversed(snapshot.parts):
        if found := _SNAPSHOT.fullmatch(part):
            return found["repo"].rpartition("--")[2]
    return snapshot.name or "model"


def visible(names: Iterable[str], *, model: str, allow_pickle: bool = False) -> list[str]:
    """The files that the converter may see, of a snapshot's paths.

    :param allow_pickle: pickled weights may be seen where there are no safetensors.
    :raises ConfigError: it has no weights, or only as pickles.
    """
    listed = sorted(names)
    seen = [name for name in listed if PurePath(name).suffix in SEEN or PurePath(name).name.upper().startswith("LICENSE")]
    if any(name.endswith(".safetensors") for name in seen):
        return seen
    pickles = [name for name in listed if PurePath(name).suffix in PICKLES]
    weights = [name for name in pickles if PICKLED.fullmatch(name)]
    if weights and allow_pickle:
        return [*weights, *seen]
    if weights:
        raise ConfigError(f"{model}: its weights are there only as pickles ({weights[0]}), which can run programs; {OTHER_WEIGHTS}")
    if pickles:
        raise ConfigError(
            f"{model}: its weights are there only as pickles ({pickles[0]}), a format that can run programs when it is opened; "
            "take a repository with .safetensors files"
        )
    raise ConfigError(f"{model}: there are no weights to convert; a Hugging Face model has .safetensors files")


def notes_on(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a model's `config.json` promises that the GGUF file will not hold."""
    lost = [what for what in ("vision", "audio") if isinstance(config.get(f"{what}_config"), dict)]
    return tuple(f"the model's {what} part is not converted: the file takes text only" for what in lost)


def explain(failure: Failure, *, model: str, memory: int) -> str:
    """A sentence on what went wrong, and what to try.

    :param memory: bytes that the converter could take.
    """
    words = f"{failure.message} {' '.join(failure.log)}"
    if found := _UNSUPPORTED.search(words):
        return f"{model}: the converter ({CONVERTER}) does not know the architecture {found[1]}; {ELSEWHERE}"
    if "pre-tokenizer was not recognized" in words:
        checksum = _CHECKSUM.search(words)
        name = f" with checksum {checksum[1]}" if checksum else ""
        return f"{model}: the converter ({CONVERTER}) does not know the tokenizer's pre-tokenizer{name}; {ELSEWHERE}"
    if "detect model architecture" in words:
        return f"{model}: its config.json names no architecture, so it cannot be converted; {ELSEWHERE}"
    if "No space left" in words:
        return f"{model}: the disk became full while it was converted; make room and try again"
    if failure.kind == "MemoryError" or "can't allocate memory" in words:
        return f"{model}: converting it takes more than the {memory / 1e9:.1f} GB of memory that were free; try again with more"
    if failure.kind == "UnpicklingError" or "Weights only load failed" in words:
        return f"{model}: its pickled weights hold more than tensors, which may be a program, so they were not read; {ELSEWHERE}"
    if ".py" in failure.message and "does not appear to have a file named" in failure.message:
        return f"{model}: its tokenizer is a Python program that came with the model, and vllama runs none of those; {ELSEWHERE}"
    detail = f"{failure.kind}: {failure.message}" if failure.kind else " ".join((failure.message, *failure.log[-3:]))
    return f"{model}: the converter ({CONVERTER}) failed: {detail}"
