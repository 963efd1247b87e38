"""The names that Ollama's users type, and which repositories of the Hugging Face hub hold these models. Pure.

The list itself is `catalog.yaml` beside this module; its head explains the form.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from vllama_core import quantization_names
from vllama_core.errors import ConfigError
from vllama_core.modelref import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUB_HOST, ModelName, ModelRef

CHAT_VARIANTS = ("-instruct", "-it", "-chat")
"""Ollama's tags name the variant that the catalogue means anyway."""
SUGGESTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model that a name stands for.

    :ivar gguf: repository with GGUF files.
    :ivar original: repository with the weights that they were made of.
    :ivar quantization: the one that the name asks for; None = not said.
    :ivar context: tokens that it was trained for.
    """

    gguf: str
    original: str
    license: str
    context: int
    quantization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models of one name in several sizes.

    :ivar latest: the size that the bare name means.
    :ivar sizes: size -> (repository with GGUF files, repository with the original weights).
    """

    license: str
    context: int
    latest: str
    sizes: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Families by their name."""

    families: Mapping[str, Family] = field(default_factory=dict)

    def find(self, name: ModelName) -> Entry | None:
        """What a name stands for; None where it stands for nothing here."""
        family = self.families.get(name.model.casefold())
        if family is None or name.host != DEFAULT_HOST or name.namespace.casefold() != DEFAULT_NAMESPACE:
            return None
        tag = family.latest if name.tag.casefold() == DEFAULT_TAG else name.tag.casefold()
        size, quantization = _taken_apart(tag, family)
        if size is None:
            return None
        gguf, original = family.sizes[size]
        return Entry(gguf=gguf, original=original, license=family.license, context=family.context, quantization=quantization)

    def near(self, name: ModelName) -> list[str]:
        """Names of the catalogue that may have been meant, the likeliest first."""
        model = name.model.casefold()
        family = self.families.get(model)
        if family is not None:
            return [f"{model}:{size}" for size in family.sizes]
        close = difflib.get_close_matches(model, self.families, n=SUGGESTIONS, cutoff=0.6)
        return close or [known for known in self.families if known.startswith(model)][:SUGGESTIONS]

    def over(self, other: Catalog) -> Catalog:
        """This catalogue on top of another one: sizes are added, what both have is taken from this one."""
        families = dict(other.families)
        for name, family in self.families.items():
            below = families.get(name)
            sizes = {**(below.sizes if below else {}), **family.sizes}
            families[name] = Family(license=family.license, context=family.context, latest=family.latest, sizes=sizes)
        return Catalog(families)


def _taken_apart(tag: str, family: Family) -> tuple[str | None, str | None]:
    """Size and quantization of a tag such as ``3b``, ``3b-instruct`` or ``3b-instruct-q8_0``."""
    if tag in family.sizes:
        return tag, None
    head, _, tail = tag.rpartition("-")
    quantization = quantization_names.parse(tail) if head else quantization_names.parse(tag)
    size = head if head and quantization else (family.latest if quantization else tag)
    for variant in CHAT_VARIANTS:
        size = size.removesuffix(variant)
    return (size if size in family.sizes else None), quantization


def parse(text: str, *, where: str) -> Catalog:
    """A catalogue's text.

    :param where: what errors call it.
    :raises ConfigError: names the family, the field and what is allowed.
    """
    try:
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable as YAML: {error}") from None
    if value is None:
        return Catalog()
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a mapping of model names; it is a {type(value).__name__}")
    return Catalog({str(name).casefold(): _family(fields, f"{where}: {name}") for name, fields in value.items()})


def _family(fields: Any, where: str) -> Family:
    if not isinstance(fields, dict) or not isinstance(fields.get("sizes"), dict) or not fields["sizes"]:
        raise ConfigError(f"{where} must have `sizes`, a mapping of sizes to [repository with GGUF files, original repository]")
    unknown = sorted(set(map(str, fields)) - {"license", "context", "latest", "sizes"})
    if unknown:
        raise ConfigError(f"{where} has the unknown field {unknown[0]!r}; license, context, latest and sizes are known")
    sizes = {str(size).casefold(): _repositories(pair, f"{where}: {size}") for size, pair in fields["sizes"].items()}
    latest = str(fields.get("latest", next(iter(sizes)))).casefold()
    if latest not in sizes:
        raise ConfigError(f"{where}: latest is {latest!r}, which is none of its sizes: {', '.join(sizes)}")
    context = fields.get("context", 0)
    if type(context) is not int or context < 0:
        raise ConfigError(f"{where}: context is {context!r}; it must be a number of tokens")
    return Family(license=str(fields.get("license", "")), context=context, latest=latest, sizes=sizes)


def _repositories(value: Any, where: str) -> tuple[str, str]:
    pair = [value, value] if isinstance(value, str) else value
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(repo, str) and _is_repository(repo) for repo in pair):
        raise ConfigError(f"{where} is {value!r}; it must be owner/name, or [owner/name with GGUF files, owner/name of the original]")
    return pair[0], pair[1]


def _is_repository(text: str) -> bool:
    name = ModelName.parse(text)
    return name is not None and name.host == HUB_HOST and ModelRef.parse(text).hub is not None and text.count("/") == 1


@cache
def builtin() -> Catalog:
    """The catalogue that comes with the package."""
    return parse(resources.files("vllama_core").joinpath("catalog.yaml").read_text(), where="catalog.yaml")
