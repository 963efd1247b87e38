"""What a model's GGUF header tells, in the fields of /api/tags, /api/ps and /api/show.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
from typing import Any

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""`general.file_type`, as llama.h numbers them (enum llama_ftype)."""

REMOVED = ("general.name", "tokenizer.chat_template")
LONG_ARRAY = 5
"""Longer arrays are shown empty unless `verbose`: vocabularies have hundreds of thousands of entries."""


def parameter_count(metadata: dict[str, Any], tensors: Any) -> int:
    """The model's parameters: as the header says, else counted from the tensors."""
    said = metadata.get("general.parameter_count")
    return said if isinstance(said, int) else sum(math.prod(tensor[1]) for tensor in tensors)


def size_text(count: int) -> str:
    """`8.2B`, `137M`."""
    for unit, scale in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= scale:
            return f"{count / scale:.0f}{unit}" if unit in "MK" else f"{count / scale:.1f}{unit}"
    return str(count)


def details(metadata: dict[str, Any], tensors: Any) -> dict[str, Any]:
    """The `details` object."""
    family = str(metadata.get("general.architecture", ""))
    found: dict[str, Any] = {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else None,
        "parameter_size": size_text(parameter_count(metadata, tensors)),
        "quantization_level": FILE_TYPES.get(metadata.get("general.file_type", -1), "unknown"),
    }
    for key in ("context_length", "embedding_length"):
        value = metadata.get(f"{family}.{key}")
        if isinstance(value, int) and value:
            found[key] = value
    return found


def capabilities(metadata: dict[str, Any]) -> list[str]:
    """What this version can do with the model; the loaded engine's word goes before this guess."""
    family = metadata.get("general.architecture", "")
    if f"{family}.pooling_type" in metadata:
        return ["embedding"]
    insert = "tokenizer.ggml.fim_pre_token_id" in metadata or "tokenizer.ggml.prefix_token_id" in metadata
    return ["completion", "insert"] if insert else ["completion"]


def model_info(metadata: dict[str, Any], tensors: Any, *, verbose: bool) -> dict[str, Any]:
    """The metadata as clients read it; `general.parameter_count` is always there."""
    info = {key: _shortened(value, verbose) for key, value in metadata.items() if key not in REMOVED}
    info["general.parameter_count"] = parameter_count(metadata, tensors)
    return dict(sorted(info.items()))


def _shortened(value: Any, verbose: bool) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    # the length first: it is free, while a long array's values are read from the file
    return list(value) if verbose or len(value) <= LONG_ARRAY else []


def tensor_objects(tensors: Any) -> list[dict[str, Any]]:
    """`tensors` of a verbose answer."""
    return [{"name": tensor[0], "type": str(tensor[2]), "shape": list(tensor[1])} for tensor in tensors]


def modelfile(name: str, path: str, template: str) -> str:
    """A Modelfile that would make the same model."""
    lines = [f"# Modelfile of {name}, made by vllama", f"FROM {path}"]
    if template:
        lines.append(f'TEMPLATE """{template}"""')
    return "\n".join(lines) + "\n"


def short_name(name: str) -> str:
    """The display form of a name that no stored model has: with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def show_object(artifact: Any, *, verbose: bool, capabilities: list[str]) -> dict[str, Any]:
    """The reply of /api/show; `model_info` is always there, empty keys are left out."""
    metadata, tensors = artifact.header.metadata, artifact.header.tensors
    template = metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) else ""
    reply = {
        "license": artifact.license,
        "modelfile": modelfile(artifact.name, str(artifact.files[0]), template),
        "template": template,
        "details": details(metadata, tensors),
        "model_info": model_info(metadata, tensors, verbose=verbose),
        "tensors": tensor_objects(tensors) if verbose else None,
        "capabilities": capabilities,
        "modified_at": artifact.modified_at.astimezone().isoformat(timespec="microseconds"),
    }
    return {key: value for key, value in reply.items() if value or key == "model_info"}
