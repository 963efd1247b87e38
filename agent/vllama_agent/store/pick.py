"""Which files of a repository make the model that is wanted. Pure: it sees names and sizes.

https://huggingface.co/docs/hub/gguf, https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from vllama_agent.store import conversion, hf_files
from vllama_core import quantization_names
from vllama_core.config import GGUF_PUBLISHERS
from vllama_core.errors import ConfigError

PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
"""Quantizations of a projector, the best choice first: it is small, and F16 runs everywhere."""
SHOWN = 6
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
_SNAPSHOT = re.compile(r"[^/]+\.(?:json|jinja|txt|model|tiktoken|safetensors)|tokenizer\.model\.v\d+", re.IGNORECASE)
_PICKLES = re.compile(r"[^/]+\.(?:bin|pt|pth|ckpt|pkl)", re.IGNORECASE)
_NO_WEIGHTS = re.compile(r"(?:training_args|optimizer|scheduler|rng_state).*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The files of one model.

    :ivar files: the model's file, or all files of a split set in order.
    :ivar projector: the file of a vision or audio encoder beside it.
    :ivar quantization: in its usual spelling; None: no name says it.
    :ivar note: a sentence, where this is not what was asked for.
    """

    files: tuple[str, ...]
    projector: str | None = None
    quantization: str | None = None
    note: str | None = None


class NoSnapshot(ConfigError):
    """A repository has no model in Hugging Face's own form that can be used."""


class NoGguf(ConfigError):
    """A repository has no GGUF file of a model; another one may."""


def gguf(paths: Collection[str], *, repo: str, wanted: str | None = None, file: str | None = None) -> Choice:
    """The GGUF file, or the files, of a quantization.

    :param wanted: a quantization in its usual spelling; None: the default one.
    :param file: path of one file, or of one of a split set; then nothing is chosen.
    :raises NoGguf: there is none in this repository.
    :raises ConfigError: more than one could be meant, or the named file is not there.
    """
    sets = _sets(path for path in paths if _is_model(path))
    if file is not None:
        return _named(file, sets, paths, repo)
    if not sets:
        raise NoGguf(f"{repo} has no GGUF file")
    known: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for files in sets.values():
        known[quantization_names.of_file(files[0]) or ""].append(files)
    named = set(known) - {""}
    if not named:
        return Choice(files=_only(known[""], repo), projector=_projector(paths, known[""][0][0]))
    asked = wanted or quantization_names.DEFAULT
    taken = quantization_names.nearest(asked, named)
    files = _only(known[taken], repo)
    note = None if taken == asked else f"{repo} has no {asked}; taking {taken}, the nearest {_direction(taken, asked)}"
    return Choice(files=files, projector=_projector(paths, files[0]), quantization=taken, note=note)


def _direction(taken: str, asked: str) -> str:
    return "better one" if quantization_names.bits(taken) >= quantization_names.bits(asked) else "one that there is"


def _is_model(path: str) -> bool:
    """Not so: projectors, importance matrices and draft heads, which are GGUF files of their own kind, and vocabularies."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(".gguf") and not any(word in name for word in ("mmproj", "imatrix", "ggml-vocab")) and not name.startswith("mtp-")


def _sets(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Whole sets by their stem; sets of which a file is missing are no models."""
    parts: dict[str, dict[int, str]] = defaultdict(dict)
    counts: dict[str, int] = {}
    for path in sorted(paths):
        split = _SPLIT.fullmatch(path[: -len(".gguf")])
        stem = f"{split['stem']}/{split['count']}" if split else path
        parts[stem][int(split["number"]) if split else 1] = path
        counts[stem] = int(split["count"]) if split else 1
    whole = {stem: found for stem, found in parts.items() if sorted(found) == list(range(1, counts[stem] + 1))}
    return {stem: tuple(found[number] for number in sorted(found)) for stem, found in whole.items()}


def _named(file: str, sets: dict[str, tuple[str, ...]], paths: Collection[str], repo: str) -> Choice:
    for files in sets.values():
        if file.casefold() in (path.casefold() for path in files):
            return Choice(files=files, projector=_projector(paths, files[0]), quantization=quantization_names.of_file(files[0]))
    if file in paths:
        raise ConfigError(f"{repo}: {file} is no model, or a part of its split set is missing; there are: {_listed(sets.values())}")
    raise ConfigError(f"{repo} has no file {file}; its models are: {_listed(sets.values()) or 'none'}")


def _only(sets: Sequence[tuple[str, ...]], repo: str) -> tuple[str, ...]:
    """One set. Where the same quantization is there both whole and split, the whole file."""
    fewest = min(len(files) for files in sets)
    best = [files for files in sets if len(files) == fewest]
    if len(best) > 1:
        file = f"{repo}{best[0][0]}" if repo.endswith("/") else f"{repo}:{best[0][0]}"
        raise ConfigError(f"{repo} has more than one model: {_listed(best)}; name a file: {file}")
    return best[0]


def _listed(sets: Iterable[tuple[str, ...]]) -> str:
    names = [files[0] for files in sets]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _projector(paths: Collection[str], model: str) -> str | None:
    """In the model's own folder first, then at the top."""
    folder = model.rpartition("/")[0]
    found = [path for path in sorted(paths) if path.lower().endswith(".gguf") and "mmproj" in path.rpartition("/")[2].lower()]
    for place in (folder, ""):
        here = [path for path in found if path.rpartition("/")[0] == place]
        for quantization in PROJECTORS:
            if match := next((path for path in here if quantization_names.of_file(path) == quantization), None):
                return match
        if here:
            return here[0]
    return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a model in Hugging Face's own format.

    :ivar pickled: whether its weights are Python pickles.
    """

    files: tuple[str, ...]
    pickled: bool = False


def snapshot(paths: Collection[str], *, repo: str, allow_pickle: bool = False) -> Snapshot:
    """Weights as safetensors, configuration, tokenizer.

    :param allow_pickle: pickled weights are taken where there are no safetensors.
    :raises NoSnapshot: there are no weights, or only such that may run code when they are read.
    """
    top = [path for path in sorted(paths) if _SNAPSHOT.fullmatch(path)]
    weights = [path for path in top if path.lower().endswith(".safetensors")]
    # Mistral publishes its weights twice: in its own layout under this name, and in everybody's.
    everybodys = [path for path in weights if not path.startswith("consolidated")]
    if not weights:
        pickles = tuple(path for path in sorted(paths) if conversion.PICKLED.fullmatch(path))
        if pickles and allow_pickle:
            return Snapshot((*pickles, *top), pickled=True)
        if pickles:
            raise NoSnapshot(
                f"{repo} has its weights only as Python pickles, which can run programs when they are read; {conversion.OTHER_WEIGHTS}"
            )
        if any(_PICKLES.fullmatch(path) and not _NO_WEIGHTS.fullmatch(path) for path in paths):
            raise NoSnapshot(
                f"{repo} has its weights only as Python pickles of a kind that is not read; take a repository with safetensors"
            )
        raise NoSnapshot(f"{repo} has neither GGUF files nor safetensors: it holds no model that can be served")
    chosen = everybodys or weights
    return Snapshot(tuple(path for path in top if path in chosen or not path.lower().endswith(".safetensors")))


def loadable(paths: Collection[str], *, repo: str) -> Snapshot:
    """What engines for Hugging Face's form load: pickles they would run, and without a configuration they know nothing.

    :raises NoSnapshot: there is no such model.
    """
    suffixes = {path.rpartition(".")[2].lower() for path in paths}
    if "gguf" in suffixes and "safetensors" not in suffixes:
        raise NoSnapshot(f"{repo} has its weights as GGUF only, which llama.cpp loads: choose that engine, and leave format hf out")
    found = snapshot(paths, repo=repo)
    if hf_files.CONFIG not in found.files:
        raise NoSnapshot(f"{repo} has no {hf_files.CONFIG}: nothing says what its weights are")
    return found


def repositories(repo: str, publishers: Sequence[str] = GGUF_PUBLISHERS) -> list[str]:
    """Where GGUF files of a model may be, in the order in which it is looked for: the repository itself, its owner's twin of it, others'.

    bartowski puts the owner in front of the name since 2025.
    """
    owner, _, name = repo.partition("/")
    if name.lower().endswith("-gguf"):
        return [repo]
    found = [repo, f"{owner}/{name}-GGUF"]
    for publisher in publishers:
        found += [f"{publisher}/{owner}_{name}-GGUF"] if publisher == "bartowski" else []
        found.append(f"{publisher}/{name}-GGUF")
    return list(dict.fromkeys(found))
