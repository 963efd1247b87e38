"""How much disk the models take, and what each of them takes alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.store import garbage, manifests
from vllama_agent.store.layers import Layers
from vllama_agent.store.manifest import Manifest
from vllama_core.model_form import Form


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """One model's bytes, in one form.

    :ivar size: of all its files.
    :ivar own: of those in the home that no other model needs.
    :ivar store: the home or lower store that has its name.
    """

    name: str
    size: int
    own: int
    store: str
    form: Form = Form.GGUF


@dataclass(frozen=True, slots=True)
class Usage:
    """All of it, in bytes.

    :ivar blobs: everything in the home.
    :ivar unused: of that, what no model needs, recent uploads included.
    :ivar elsewhere: files of models that lie outside the home.
    """

    home: str
    models: tuple[ModelUsage, ...]
    blobs: int
    unused: int
    elsewhere: int


def of(layers: Layers) -> Usage:
    """Look at every manifest and every blob.

    :raises ConfigError: a manifest cannot be read.
    """
    found = [(path, manifest) for path in layers.paths() if (manifest := manifests.read(path)) is not None]
    files = {path: _files(path, manifest) for path, manifest in found}
    needed = Counter(place for places in files.values() for place in places)
    ours = layers.home / "blobs"
    models = [
        ModelUsage(
            name=manifest.name.display,
            size=manifest.size,
            own=sum(size for place, size in files[path].items() if needed[place] == 1 and place.parent == ours),
            store=str(manifests.home_of(path)),
            form=manifest.form,
        )
        for path, manifest in found
    ]
    outside = {place: size for places in files.values() for place, size in places.items() if place.parent != ours}
    return Usage(
        home=str(layers.home),
        models=tuple(sorted(models, key=lambda model: (-model.size, model.name))),
        blobs=sum(_size(path) for path in ours.rglob("*")),
        unused=sum(item.size for item in garbage.unused(layers.home, grace=0)),
        elsewhere=sum(outside.values()),
    )


def _size(path: Path) -> int:
    """Of a file; of what is none, or has just been published or removed, nothing."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _files(path: Path, manifest: Manifest) -> dict[Path, int]:
    home = manifests.home_of(path)
    return {manifests.located(home, file): file.size for file in manifest.all_files}
