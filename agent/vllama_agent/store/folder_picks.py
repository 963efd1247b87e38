"""Which files of a folder make the model that is wanted, for folders that are no repositories of a hub. Pure: it sees paths and sizes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vllama_agent.store import pick
from vllama_core import quantization_names
from vllama_core.errors import ConfigError
from vllama_core.storageref import PvcRef, S3Ref

SPLIT = re.compile(r"-\d{5}-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
"""How the name of a file of a split set ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The files of a model.

    :ivar files: paths relative to the folder: GGUF files in order, or those of a model in Hugging Face's format.
    :ivar weights: whether they are the latter.
    """

    files: tuple[str, ...]
    projector: str | None = None
    quantization: str | None = None
    note: str | None = None
    weights: bool = False
    pickled: bool = False

    @property
    def all_files(self) -> tuple[str, ...]:
        return (*self.files, *((self.projector,) if self.projector else ()))


def split(place: S3Ref | PvcRef) -> tuple[str, str | None]:
    """A reference's folder, with a slash at its end or empty, and the file that is named in it; None: the folder itself is meant."""
    path = place.key if isinstance(place, S3Ref) else place.path
    if place.is_folder:
        return path, None
    folder, slash, file = path.rpartition("/")
    return folder + slash, file


def missing_parts(names: Sequence[str]) -> int:
    """How many files of a split set are not there, by the names of those that are."""
    first = SPLIT.search(names[0])
    return int(first["count"]) - len(set(names)) if first else 0


def files(paths: Mapping[str, object], *, place: str, file: str | None, allow_pickle: bool) -> Picked:
    """GGUF files first, of the default quantization or the nearest better one; then weights to convert.

    :param paths: relative to the folder.
    :param place: what errors call the folder; ends with a slash.
    :param file: the one that was named; of a split set any.
    :raises ConfigError: there is no model, or more than one could be meant.
    """
    try:
        found = pick.gguf(list(paths), repo=place, file=file)
    except pick.NoGguf:
        weights = pick.snapshot(list(paths), repo=place, allow_pickle=allow_pickle)
        return Picked(files=weights.files, quantization=quantization_names.DEFAULT, weights=True, pickled=weights.pickled)
    return Picked(files=found.files, projector=found.projector, quantization=found.quantization, note=found.note)


def revision(picked: Picked, marks: Mapping[str, tuple[int, str]]) -> str:
    """64 hex digits for the files as they are now.

    :param marks: size in bytes, and something that changes when the file does, by path.
    """
    lines = [f"{path}\0{marks[path][0]}\0{marks[path][1]}\n" for path in picked.all_files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_names(paths: Mapping[str, object], place: str) -> None:
    """:raises ConfigError: a path is no place below a folder."""
    for path in paths:
        if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
            raise ConfigError(f"{place} holds {path!r}, which can be no file of a folder; move the model into a folder of its own")
