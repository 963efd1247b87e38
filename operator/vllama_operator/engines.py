"""Which engine an LLMServe means that leaves the choice to us. Pure.

As the agent chooses for a machine: on NVIDIA GPUs vLLM runs what can be had in the form that it loads, and llama.cpp all else. Here the
image must have vLLM, too: the chart's own has llama.cpp alone, so that vLLM takes an image that profile or LLMServe name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllama_core import catalog, engine_options
from vllama_core.model_form import Form
from vllama_core.modelref import ModelRef
from vllama_core.storageref import PvcRef
from vllama_operator.profiles import AUTO, Profile

Json = Mapping[str, Any]
NVIDIA = "nvidia"


def takes_vllm(model: Json, engine: Json, resources: Json, profile: Profile) -> bool:
    """Whether vLLM is the engine of an LLMServe that names none.

    :param model: `spec.model`, as the other two checked already.
    """
    accelerator = profile.accelerator_of(resources.get("accelerator", AUTO))
    if accelerator != NVIDIA or not (engine.get("image") or profile.image):
        return False
    if any(name not in engine_options.SHARED for name in engine.get("options") or ()):
        return False
    return model.get("format") != Form.GGUF and not model.get("quantization") and _may_be_original(model["source"])


def _may_be_original(source: str) -> bool:
    """Whether a source leads to a model as its makers published it, as far as its name tells: nobody is asked."""
    parsed = ModelRef.parse(source)
    if parsed.storage is not None:
        return isinstance(parsed.storage, PvcRef) and parsed.storage.is_folder
    if parsed.hub is not None:
        return parsed.hub.names_no_gguf and "gguf" not in parsed.hub.repo.casefold()
    entry = None if parsed.name is None or parsed.registry or parsed.url else catalog.builtin().find(parsed.name)
    return entry is not None and entry.quantization is None
