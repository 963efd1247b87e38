"""What people type for a model, taken apart: a file, a folder, or a name by Ollama's grammar. Pure: nothing is looked up here.

A name is ``[host/][namespace/]model[:tag]``; host `registry.ollama.ai`, namespace `library` and tag `latest` are implied.
https://github.com/ollama/ollama/blob/main/docs/api.md#model-names
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vllama_core.errors import ConfigError

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
DEMO_MODEL = "gemma3:270m-base"
"""The model that `make run` serves: a real Gemma 3 270M base model. Ollama's `gemma3:270m` is the instruct model, hence the tag."""
WHAT_CAN_BE_GIVEN = f"give a GGUF file, a folder with the GGUF file or files of one model, or {DEMO_MODEL}"

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
# Wider than Ollama's 80 characters, and dots in the namespace: names of the Hugging Face hub have both.
_NAME = re.compile(
    rf"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,349}})/(?={_WORD}/))?(?:(?P<namespace>{_WORD})/)?(?P<model>{_WORD})(?::(?P<tag>{_WORD}))?"
)
_LATER = ("http://", "https://", "s3://", "oci://", "pvc://")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name, each part as it was spelled."""

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = DEFAULT_NAMESPACE
    host: str = DEFAULT_HOST

    @classmethod
    def parse(cls, text: str) -> ModelName | None:
        """None: `text` cannot be a name."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        return cls(
            model=found["model"],
            tag=found["tag"] or DEFAULT_TAG,
            namespace=found["namespace"] or DEFAULT_NAMESPACE,
            host=found["host"] or DEFAULT_HOST,
        )

    @property
    def display(self) -> str:
        """The shortest form that lists show: model and tag always, the rest only where it is not implied."""
        short = f"{self.model}:{self.tag}"
        if self.host.casefold() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace.casefold() == DEFAULT_NAMESPACE else f"{self.namespace}/{short}"

    @property
    def key(self) -> str:
        """Equal for names that mean the same model: case does not count."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".casefold()


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Exactly one of the two is there.

    :ivar path: of a file or a folder, as typed.
    :ivar name: by Ollama's grammar.
    """

    path: str | None = None
    name: ModelName | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read a reference. What begins with ``/``, ``./``, ``../`` or ``~`` or ends with ``.gguf`` is a path, the rest are names.

        :raises ConfigError: it is neither, or of a kind that this version does not know.
        """
        if text.startswith(_LATER):
            raise ConfigError(f"{text!r}: this version of vllama does not fetch models; {WHAT_CAN_BE_GIVEN}")
        if is_path(text):
            return cls(path=text)
        name = ModelName.parse(text)
        if name is None:
            raise ConfigError(f"{text!r} is no model; {WHAT_CAN_BE_GIVEN}")
        return cls(name=name)


def is_path(text: str) -> bool:
    """Whether a reference means a place in the file system."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.lower().endswith(".gguf")


def name_from_stem(stem: str) -> ModelName:
    """A name for a file that has none: its stem, with what names cannot hold replaced."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip(".-")[:128]
    return ModelName(cleaned or "model")
