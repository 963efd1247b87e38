"""Bytes that no name needs any more: which they are, and removing them.

A blob is garbage when no manifest of its home names it. It stays while somebody holds it (`holds`), and for an hour after it was written
or asked for: an upload, or a pull that is half done, has no manifest yet.
"""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.store import briefs, claim, holds, kept_shapes, manifests
from vllama_core.errors import ConfigError

GRACE = 3600.0
"""Seconds between an upload or a pull and the manifest that names its bytes, at most."""
STALE = 86400.0
"""Seconds after which a scratch file was left by a process that is gone. Uploads and assembled files grow steadily."""
HALF_PULLED = 14 * 86400.0
"""Seconds without a byte after which nobody will go on with a download; while it runs its claim is touched every few seconds."""
AT_ONCE = 64
"""Files that are locked together while names are looked at: few enough for any limit of open files."""
OURS = re.compile(r"sha256-[0-9a-f]{64}|[0-9a-f]{64}\.json|[0-9a-f]{40,64}(\.\d+\.gguf|\.tar)?|" + re.escape(manifests.SCRATCH) + ".*")
"""Names of files that we make; others are left alone."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that no name needs."""

    path: Path
    size: int


def named(home: Path) -> set[Path]:
    """The places of all files that the home's manifests name, and of their kept headers and shapes.

    :raises ConfigError: a manifest cannot be read, so that nobody knows what it needs.
    """
    found: set[Path] = set()
    for path in manifests.paths(home):
        manifest = manifests.read(path)
        if manifest is None and path.exists():
            raise ConfigError(f"{path} cannot be read, so what it needs is unknown and nothing is removed; repair it or delete it")
        if manifest is None:
            continue
        found |= {kept_shapes.path_of(home, manifest.digest), briefs.path_of(home, manifest.digest)}
        for file in manifest.all_files:
            found |= {manifests.located(home, file), briefs.path_of(home, file.digest)}
    return found


def unused(home: Path, *, grace: float = GRACE) -> list[Garbage]:
    """Blobs without a name, scratch files without an owner, and downloads that nobody goes on with.

    :param grace: seconds that a blob's last use must lie back.
    :raises ConfigError: see `named`.
    """
    given_up = [item for item in _old(home.glob("partials/[!.]*"), HALF_PULLED) if not claim.is_at_work(item.path)]
    # a finished file of a model that is half pulled has no name yet, and looks like any other blob without one
    is_half_pulled = len(given_up) < sum(1 for _ in _old(home.glob("partials/[!.]*"), 0))
    candidates = [
        *_old(home.glob("blobs/sha256-*"), max(grace, HALF_PULLED) if is_half_pulled else grace),
        *_old(_scratch(home), STALE),
        *_old(_headers(home), GRACE),
        *_old(home.glob("cache/fetched/*"), HALF_PULLED),
        *given_up,
    ]
    needed = named(home)  # after the candidates: what got a name meanwhile is in it
    return [item for item in candidates if item.path not in needed]


def collect(home: Path, *, grace: float = GRACE) -> tuple[list[Garbage], list[Garbage]]:
    """Remove what `unused` finds; (what is gone, what is in use and stays).

    :raises ConfigError: see `named`.
    :raises OSError: a file cannot be removed.
    """
    return remove(home, unused(home, grace=grace))


def remove(home: Path, items: Sequence[Garbage]) -> tuple[list[Garbage], list[Garbage]]:
    """Remove these unless somebody holds them, or gave them a name meanwhile; (what is gone, what stays).

    :raises ConfigError: see `named`.
    :raises OSError: a file cannot be removed.
    """
    gone: list[Garbage] = []
    stays: list[Garbage] = []
    files = [item for item in items if not item.path.is_dir()]
    for at in range(0, len(files), AT_ONCE):
        batch = files[at : at + AT_ONCE]
        with holds.alone(item.path for item in batch) as free:
            needed = named(home)  # after the locks: a file that gets a name is held until the name is written
            for item in batch:
                if item.path in free and item.path not in needed:
                    item.path.unlink()
                    gone.append(item)
                elif item.path.exists():
                    stays.append(item)
    for item in items:
        if item.path.is_dir():
            shutil.rmtree(item.path)
            gone.append(item)
    return gone, stays


def _scratch(home: Path) -> Iterator[Path]:
    for place in ("blobs", "partials", "cache/headers", "cache/shapes", "manifests/*/*/*"):
        yield from home.glob(f"{place}/{manifests.SCRATCH}*")


def _headers(home: Path) -> Iterator[Path]:
    """Kept briefs and shapes. Those of lower stores' models are made anew when they are listed or loaded."""
    return itertools.chain(home.glob("cache/headers/*.json"), home.glob("cache/shapes/*.json"))


def _old(paths: Iterable[Path], age: float) -> Iterator[Garbage]:
    latest = time.time() - age
    for path in paths:
        with suppress(FileNotFoundError):  # somebody else removed it meanwhile
            if OURS.fullmatch(path.name):
                stats = [path.stat(), *(inner.lstat() for inner in path.rglob("*"))]
                if max(stat.st_mtime for stat in stats) <= latest:
                    yield Garbage(path, sum(stat.st_size for stat in stats))
