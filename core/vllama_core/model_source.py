"""From `spec.model` to the reference that `serve --model` would be given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vllama_core import quantization_names
from vllama_core.errors import ConfigError
from vllama_core.modelref import DEFAULT_TAG, HubRef, ModelRef
from vllama_core.yaml_fields import Field


def reference(model: Mapping[str, Field]) -> str:
    """Source, quantization and revision in one text.

    :raises ConfigError: one of them cannot be, or they contradict each other.
    """
    source = model["source"]
    text = source.text()
    try:
        ref = ModelRef.parse(text)
    except ConfigError as error:
        raise source.error(f"is no model: {error}") from None
    if "quantization" in model:
        text = _quantized(ref, model["quantization"])
    if "revision" in model:
        return _at_revision(ModelRef.parse(text), model["revision"])
    return text


def _quantized(ref: ModelRef, given: Field) -> str:
    wanted = quantization_names.parse(given.text())
    if wanted is None:
        raise given.error(f"is {given.text()!r}, which is no quantization; {quantization_names.DEFAULT}, Q8_0 and F16 are some")
    if ref.hub is not None and ref.hub.file is None:
        return str(replace(ref.hub, quantization=_agreed(ref.hub, wanted, given)))
    if ref.name is None or ref.hub is not None or ref.url is not None:
        raise given.error("can be said of a name or a repository; the source names one file, whose quantization is what it is")
    tag = ref.name.tag
    if quantization_names.parse(tag.rpartition("-")[2]) not in (None, wanted):
        raise given.error(f"is {wanted}, but the source's tag {tag!r} names another one; say it once")
    if quantization_names.parse(tag.rpartition("-")[2]) == wanted:
        return str(ref)
    tail = wanted.lower() if tag == DEFAULT_TAG else f"{tag}-{wanted.lower()}"
    return str(replace(ref, name=replace(ref.name, tag=tail)))


def _agreed(hub: HubRef, wanted: str, given: Field) -> str:
    if hub.quantization not in (None, wanted):
        raise given.error(f"is {wanted}, but the source says {hub.quantization}; say it once")
    return wanted


def _at_revision(ref: ModelRef, given: Field) -> str:
    if ref.hub is None:
        raise given.error("can be said only of a repository of the Hugging Face hub")
    if ref.hub.revision not in (None, given.text()):
        raise given.error(f"is {given.text()!r}, but the source says {ref.hub.revision!r}; say it once")
    return str(replace(ref.hub, revision=given.text()))
