"""The stores of this machine: `$VLLAMA_HOME`, which we write, over read-only ones that `VLLAMA_STORES` names.

A name that several of them have means the first one's model, the home's before all. So a volume that is filled once serves many nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.store import manifests
from vllama_agent.store.manifest import Manifest
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName


@dataclass(frozen=True, slots=True)
class Layers:
    """Where to look, in this order.

    :ivar home: need not exist.
    :ivar below: homes that are only read; one that is not there, such as a volume that is not mounted yet, holds nothing.
    """

    home: Path
    below: tuple[Path, ...] = ()

    @property
    def roots(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.home, *self.below)

    def paths(self) -> Iterator[Path]:
        """The manifest of every name and form, in the first store that has it."""
        seen: set[tuple[str, ...]] = set()
        for root in self.roots:
            for path in manifests.paths(root):
                name = path.parts[-4:]
                if name not in seen:
                    seen.add(name)
                    yield path

    def path_of(self, name: ModelName, form: Form = Form.GGUF) -> Path | None:
        """A name's manifest; None if no store has it in this form."""
        found = (manifests.path_of(root, name, form) for root in self.roots)
        return next((path for path in found if path.is_file()), None)

    def paths_of(self, name: ModelName) -> tuple[Path, ...]:
        """A name's manifests, one for each form that it is here in; empty if no store has it."""
        found = (self.path_of(name, form) for form in Form)
        return tuple(path for path in found if path is not None)

    def blob(self, digest: str) -> Path | None:
        """The bytes with this sha256; None if no store has them."""
        found = (manifests.blob(root, digest) for root in self.roots)
        return next((path for path in found if path.is_file()), None)

    def manifest(self, name: ModelName, form: Form = Form.GGUF) -> Manifest | None:
        """What a name stands for in a form, with the path of each file that lies elsewhere than in the home; None if no store has it."""
        path = self.path_of(name, form)
        found = manifests.read(path) if path is not None else None
        if path is None or found is None or manifests.home_of(path) == self.home:
            return found
        return manifests.pinned_to(manifests.home_of(path), found)
