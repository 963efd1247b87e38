"""Read every byte of the models' files, and tell which are not what their names promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.store import digests, manifests
from vllama_agent.store.layers import Layers
from vllama_core.errors import ModelNotFound
from vllama_core.modelref import ModelName


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one file.

    :ivar models: whose file it is.
    :ivar problem: a sentence; None: every byte is right.
    """

    path: str
    size: int
    models: tuple[str, ...]
    problem: str | None


def check(layers: Layers, names: tuple[ModelName, ...] = ()) -> Iterator[Verdict]:
    """Each file once, as soon as it is read.

    :param names: only these models; empty: all.
    :raises ModelNotFound: there is no such model.
    """
    for (path, digest, size), models in _files(layers, names).items():
        yield Verdict(str(path), size, tuple(sorted(models)), _problem(path, digest, size))


def _files(layers: Layers, names: tuple[ModelName, ...]) -> dict[tuple[Path, str, int], set[str]]:
    """Which models have which (place, sha256, size)."""
    found: dict[tuple[Path, str, int], set[str]] = {}
    for path in [path for name in names for path in _manifests(layers, name)] if names else layers.paths():
        manifest = manifests.read(path)
        if manifest is not None:
            for file in manifest.all_files:
                place = manifests.located(manifests.home_of(path), file)
                found.setdefault((place, file.digest, file.size), set()).add(manifest.name.display)
    return found


def _manifests(layers: Layers, name: ModelName) -> tuple[Path, ...]:
    paths = layers.paths_of(name)
    if not paths:
        raise ModelNotFound(name.display)
    return paths


def _problem(path: Path, digest: str, size: int) -> str | None:
    try:
        found = path.stat().st_size
        if found != size:
            return f"it has {found} bytes and should have {size}"
        return None if digests.sha256_of(path) == digest else "its bytes are damaged"
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
