"""From what should be and what is to the least that has to be done. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllama_operator import names

Json = Mapping[str, Any]
Key = tuple[str, str]
"""Kind and name, within one namespace."""
MADE_ONCE = frozenset({"PersistentVolumeClaim", "Job", "ConfigMap"})
"""Hardly a field of a claim or a Job can be changed, and a plan is an answer to its own question: they are left as they were made."""
KEPT = frozenset({"PersistentVolumeClaim"})
"""To remove a claim is to remove what was fetched."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Make an object, or put it right.

    :ivar why: the first field that differs; empty: it was not there.
    """

    manifest: dict[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an object that is no longer wanted."""

    manifest: Json


Action = Apply | Delete


@dataclass(slots=True)
class Settled:
    """What the API server made of what was applied, where it writes values in its own way (1000m becomes 1): no reason to apply again."""

    seen: dict[Key, tuple[str, Any]] = field(default_factory=dict)

    def note(self, manifest: Json, answer: Json) -> None:
        """An object was applied, and this came back."""
        if first_difference(manifest, answer):
            self.seen[key_of(manifest)] = (_digest(manifest), projection(answer, manifest))
        else:
            self.seen.pop(key_of(manifest), None)

    def agrees(self, manifest: Json, observed: Json) -> bool:
        """It is as it came back then."""
        return self.seen.get(key_of(manifest)) == (_digest(manifest), projection(observed, manifest))


def key_of(manifest: Json) -> Key:
    return manifest["kind"], manifest["metadata"]["name"]


def plan(desired: Iterable[dict[str, Any]], observed: Iterable[Json], settled: Settled | None = None) -> list[Action]:
    """What is missing or differs is applied, what is there and not wanted is deleted, in this order; nothing else is touched."""
    there = {key_of(each): each for each in observed}
    actions: list[Action] = []
    wanted = set()
    for manifest in desired:
        wanted.add(key_of(manifest))
        current = there.get(key_of(manifest))
        if current is None:
            actions.append(Apply(manifest))
        elif manifest["kind"] not in MADE_ONCE:
            why = first_difference(manifest, current)
            if why and not (settled and settled.agrees(manifest, current)):
                actions.append(Apply(manifest, why))
    unwanted = (each for key, each in there.items() if key not in wanted and each["kind"] not in KEPT)
    return actions + [Delete(each) for each in unwanted]


def first_difference(wanted: Any, there: Any, path: str = "") -> str:
    """Where the two first differ in what is wanted, such as ``spec.template.spec.containers.agent.image``; empty: nowhere.

    What is there beyond that is somebody else's, or a default.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(there, Mapping):
            return path or "."
        steps = ((f"{path}.{key}" if path else str(key), value, there.get(key)) for key, value in wanted.items())
    elif isinstance(wanted, list):
        if not isinstance(there, list):
            return path
        if not _named(wanted) and len(wanted) != len(there):
            return path
        steps = ((f"{path}.{name}", value, other) for name, value, other in _pairs(wanted, there))
    else:
        return "" if wanted == there else path
    return next((found for step, value, other in steps if (found := first_difference(value, other, step))), "")


def projection(there: Any, wanted: Any) -> Any:
    """The part of what is there that somebody wants."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {key: projection(there.get(key), value) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(there, list):
        return [projection(other, value) for _, value, other in _pairs(wanted, there)]
    return there


def _named(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and "name" in item for item in items)


def _pairs(wanted: list[Any], there: list[Any]) -> Iterable[tuple[str, Any, Any]]:
    if _named(wanted):
        by_name = {item["name"]: item for item in there if isinstance(item, Mapping) and "name" in item}
        return [(item["name"], item, by_name.get(item["name"])) for item in wanted]
    return [(str(index), item, there[index] if index < len(there) else None) for index, item in enumerate(wanted)]


def _digest(manifest: Json) -> str:
    annotations = manifest["metadata"].get("annotations") or {}
    return str(annotations.get(names.DIGEST))
