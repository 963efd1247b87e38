"""`vllama create`: make a model from a Modelfile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vllama_agent.commands import client, values
from vllama_agent.commands.bars import Bars
from vllama_agent.commands.client import Client
from vllama_agent.store import digests
from vllama_core import modelfile, modelref
from vllama_core.errors import ConfigError
from vllama_core.modelfile import Modelfile

HUGGING_FACE = (".safetensors", ".json", ".model", ".txt", ".jinja")
"""Endings of what a converter reads of a Hugging Face folder: weights, settings, tokenizers, chat templates."""


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `create`."""
    made = argparse.ArgumentParser(prog=prog, description="Make a model from a Modelfile.", allow_abbrev=False)
    made.add_argument("model", help="the new model's name")
    made.add_argument("-f", "--file", default="Modelfile", metavar="FILE", help="the Modelfile (./Modelfile); - = standard input")
    made.add_argument("-q", "--quantize", metavar="NAME", help="quantize the model, such as Q4_K_M")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Send what the server lacks, and have it make the model."""
    server = client.from_environment()
    body = request(server, modelfile.parse(_text(arguments.file)), _folder(arguments.file))
    with Bars() as bars:
        for event in server.stream("/api/create", {"model": arguments.model, "quantize": arguments.quantize, **body}):
            bars.show(event)
    return 0


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: {why}; name a Modelfile with -f, or write one that says FROM and a model's name") from None


def _folder(file: str) -> Path:
    return Path.cwd() if file == "-" else Path(file).absolute().parent


def request(server: Client, made: Modelfile, folder: Path) -> dict[str, Any]:
    """The body of /api/create. Files are sent on the way.

    :param folder: what relative paths begin at.
    :raises ConfigError: a file is not there.
    """
    body: dict[str, Any] = {"template": made.template, "system": made.system, "license": list(made.license)}
    body["parameters"] = {name: _value(name, texts) for name, texts in made.parameters.items()}
    body["messages"] = [{"role": role, "content": content} for role, content in made.messages]
    paths = [path for base in made.base if (path := _path(base, folder)) is not None]
    if paths:
        if len(paths) < len(made.base):
            raise ConfigError(f"FROM names files and models ({', '.join(made.base)}); a model starts from one of them")
        body["files"] = _sent(server, paths)
    else:
        body["from"] = made.base[-1]
    if made.adapters:
        body["adapters"] = _sent(server, [_required(adapter, folder) for adapter in made.adapters])
    return {key: value for key, value in body.items() if value}


def _value(name: str, texts: tuple[str, ...]) -> Any:
    return list(texts) if name == "stop" else values.option(texts[-1])


def _path(base: str, folder: Path) -> Path | None:
    """The file or folder that FROM means; None: a model's name."""
    path = folder / Path(base).expanduser()
    if path.exists():
        return path
    if modelref.is_path(base):
        raise ConfigError(f"FROM {base}: there is no such file or folder below {folder}")
    return None


def _required(adapter: str, folder: Path) -> Path:
    path = folder / Path(adapter).expanduser()
    if not path.exists():
        raise ConfigError(f"ADAPTER {adapter}: there is no such file or folder below {folder}")
    return path


def _sent(server: Client, paths: Iterable[Path]) -> dict[str, str]:
    """Digests by file name, of files that the server has now."""
    sent: dict[str, str] = {}
    for path in paths:
        for name, file in _files(path):
            print(f"reading {name}", file=sys.stderr)
            digest = f"sha256:{digests.sha256_of(file)}"
            if not server.has_blob(digest):
                print(f"sending {name}", file=sys.stderr)
                with open(file, "rb") as opened:
                    server.upload(digest, opened, file.stat().st_size)
            sent[name] = digest
    return sent


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    found = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    chosen = [file for file in found if file.suffix == ".gguf"] or [file for file in found if file.suffix in HUGGING_FACE]
    if not chosen:
        raise ConfigError(f"{path}: there are neither GGUF nor safetensors files in this folder")
    yield from ((file.name, file) for file in chosen)
