"""GGUF files of users: which files make one model, what it is called, and a digest that costs little."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vllama_agent.store import header
from vllama_agent.store.artifact import Artifact
from vllama_core import modelref
from vllama_core.errors import ConfigError
from vllama_core.gguf import GgufError, GgufHeader

SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"""How llama.cpp names the files of a split set. https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split"""
SAMPLES = 64
SAMPLE_BYTES = 1 << 16


def files_at(path: Path) -> tuple[Path, ...]:
    """The files of the model that lies at `path`: a GGUF file, any file of a split set, or a folder that holds one model.

    :raises ConfigError: there is no model, or more than one, or a part of it is missing.
    """
    path = path.expanduser()
    if path.is_dir():
        return _files_in(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder; {modelref.WHAT_CAN_BE_GIVEN}")
    return _whole_set(path)


def _files_in(folder: Path) -> tuple[Path, ...]:
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf" and not file.name.lower().startswith("mmproj"))
    if not found:
        raise ConfigError(f"{folder}: no GGUF file is in this folder")
    stems = {stem_of(file) for file in found}
    if len(stems) > 1:
        raise ConfigError(
            f"{folder}: more than one model is in this folder ({_listed(file.name for file in found)}); name one of the files"
        )
    return _whole_set(found[0])


def _whole_set(file: Path) -> tuple[Path, ...]:
    split = SPLIT.fullmatch(file.stem)
    if split is None:
        return (file,)
    count = int(split["count"])
    names = [f"{split['stem']}-{number:05d}-of-{count:05d}{file.suffix}" for number in range(1, count + 1)]
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise ConfigError(
            f"{file.parent}: {_listed(missing)} of the {count} files of {split['stem']} {'is' if len(missing) == 1 else 'are'} missing"
        )
    return tuple(file.parent / name for name in names)


def _listed(names: Iterable[str]) -> str:
    words = list(names)
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def stem_of(file: Path) -> str:
    """A file's name without its ending and without its number in a split set."""
    split = SPLIT.fullmatch(file.stem)
    return split["stem"] if split else file.stem


def artifact_of(files: Sequence[Path], *, name: str) -> Artifact:
    """A model of a user's files. Its headers are read now, so that a wrong file is told at the start and not by a request.

    :raises ConfigError: it cannot be read, or is no GGUF file.
    """
    try:
        stats = [file.stat() for file in files]
        headers = [_checked(file) for file in files]
        license_id = headers[0].metadata.get("general.license")
        return Artifact(
            name=name,
            files=tuple(file.absolute() for file in files),
            digest=fingerprint(files),
            size=sum(stat.st_size for stat in stats),
            modified_at=datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC),
            license=(license_id,) if isinstance(license_id, str) else (),
        )
    except OSError as error:
        raise ConfigError(f"{error.filename or files[0]}: {error.strerror or error}") from error


def _checked(file: Path) -> GgufHeader:
    try:
        return header.read(file)
    except GgufError as error:
        raise ConfigError(f"{file}: {error}") from error


def fingerprint(files: Sequence[Path]) -> str:
    """64 hex digits for a model's bytes, without reading them all: hashing 40 GB at every start would take minutes.

    The sha256 of each file's size and of 64 evenly spaced pieces of 64 KiB, the first and the last ones included. It does not change
    when a file is moved, copied or touched; files that differ only between the pieces are not told apart, which training and
    quantisation never produce. It is not the sha256 that a registry shows.
    """
    digest = hashlib.sha256(b"vllama fingerprint 1\n")
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with open(file, "rb") as opened:
            for offset in _offsets(size):
                opened.seek(offset)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _offsets(size: int) -> list[int]:
    if size <= SAMPLES * SAMPLE_BYTES:
        return list(range(0, size, SAMPLE_BYTES))
    last = size - SAMPLE_BYTES
    return [last * index // (SAMPLES - 1) for index in range(SAMPLES)]
