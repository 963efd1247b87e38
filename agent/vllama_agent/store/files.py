"""Files of users: which of them make one model, what it is called, and a digest that costs little."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vllama_agent.store import conversion, header, hf_files, pick
from vllama_agent.store.artifact import Artifact
from vllama_core import modelref
from vllama_core.errors import ConfigError, UnreadableModel
from vllama_core.gguf import GgufError, GgufHeader
from vllama_core.model_form import Form

SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"""How llama.cpp names the files of a split set. https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split"""
SAMPLES = 64
SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one model.

    :ivar stem: what its files, or their folder, are called.
    """

    files: tuple[Path, ...]
    stem: str
    form: Form = Form.GGUF


def files_at(path: Path, *, prefers: Form = Form.GGUF) -> Found:
    """The files of the model that lies at `path`: a GGUF file, any file of a split set, or a folder that holds one model.

    :param prefers: what is taken of a folder that has a model in both forms.
    :raises ConfigError: there is no model, or more than one, or a part of it is missing.
    """
    path = path.expanduser()
    if path.is_dir():
        return _files_in(path, prefers)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder; {modelref.WHAT_CAN_BE_GIVEN}")
    return _whole_set(path)


def _files_in(folder: Path, prefers: Form) -> Found:
    listed = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file for file in listed if file.suffix.lower() == ".gguf" and not file.name.lower().startswith("mmproj")]
    if hf_files.is_model(file.name for file in listed) and (prefers is Form.HUGGING_FACE or not found):
        names = pick.snapshot([file.name for file in listed], repo=str(folder)).files
        return Found(tuple(folder / name for name in names), conversion.model_name(folder.absolute()), Form.HUGGING_FACE)
    if not found:
        raise ConfigError(f"{folder}: no GGUF file is in this folder, nor config.json and safetensors")
    stems = {stem_of(file) for file in found}
    if len(stems) > 1:
        raise ConfigError(
            f"{folder}: more than one model is in this folder ({_listed(file.name for file in found)}); name one of the files"
        )
    return _whole_set(found[0])


def _whole_set(file: Path) -> Found:
    split = SPLIT.fullmatch(file.stem)
    if split is None:
        return Found((file,), file.stem)
    count = int(split["count"])
    names = [f"{split['stem']}-{number:05d}-of-{count:05d}{file.suffix}" for number in range(1, count + 1)]
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise ConfigError(
            f"{file.parent}: {_listed(missing)} of the {count} files of {split['stem']} {'is' if len(missing) == 1 else 'are'} missing"
        )
    return Found(tuple(file.parent / name for name in names), split["stem"])


def _listed(names: Iterable[str]) -> str:
    words = list(names)
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def stem_of(file: Path) -> str:
    """A file's name without its ending and without its number in a split set."""
    split = SPLIT.fullmatch(file.stem)
    return split["stem"] if split else file.stem


def artifact_of(found: Found, *, name: str) -> Artifact:
    """A model of a user's files. Its headers are read now, so that a wrong file is told at the start and not by a request.

    :raises ConfigError: it cannot be read, or is not of its form.
    """
    files = found.files
    try:
        stats = [file.stat() for file in files]
        license_id = _checked(found).metadata.get("general.license")
        return Artifact(
            name=name,
            files=tuple(file.absolute() for file in files),
            digest=fingerprint(files),
            size=sum(stat.st_size for stat in stats),
            modified_at=datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC),
            form=found.form,
            license=(license_id,) if isinstance(license_id, str) else (),
        )
    except OSError as error:
        raise ConfigError(f"{error.filename or files[0]}: {error.strerror or error}") from error


def _checked(found: Found) -> GgufHeader:
    """The first file's header, or the folder's."""
    try:
        if found.form is Form.HUGGING_FACE:
            return hf_files.header(found.files)
        headers = [_header(file) for file in found.files]
        return headers[0]
    except UnreadableModel as error:
        raise ConfigError(str(error)) from error


def _header(file: Path) -> GgufHeader:
    try:
        return header.read(file)
    except GgufError as error:
        raise GgufError(f"{file}: {error}") from error


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
