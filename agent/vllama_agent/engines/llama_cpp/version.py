"""The one llama-cpp-python that this version works with: engine, quantizer and converter all come from it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path

from vllama_core.engine_build import BACKENDS
from vllama_core.errors import EngineFailed

PINNED = "0.3.36"
LIBRARY = re.compile(r"(?:lib)?ggml-(\w+)\.(?:so|dylib|dll)")
"""A backend's library, such as ``libggml-cuda.so``."""


def installed() -> str | None:
    """The version in this interpreter, without importing it; None: there is none."""
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return None


def is_here() -> bool:
    """Whether this interpreter has one, of whatever version. Much quicker than `installed`."""
    return importlib.util.find_spec("llama_cpp") is not None


def backends() -> tuple[str, ...]:
    """The GPU backends that llama.cpp is built with, best first, by the libraries that lie there; nothing is loaded.

    llama-cpp-python looks for them in its package, or in LLAMA_CPP_LIB_PATH.
    """
    spec = importlib.util.find_spec("llama_cpp")
    packages = spec.submodule_search_locations if spec else None
    folders = [Path(os.environ["LLAMA_CPP_LIB_PATH"])] if "LLAMA_CPP_LIB_PATH" in os.environ else [Path(p) / "lib" for p in packages or ()]
    names = {found[1] for folder in folders if folder.is_dir() for file in folder.iterdir() if (found := LIBRARY.fullmatch(file.name))}
    return tuple(name for name in BACKENDS if name in names)


def check() -> None:
    """Refuse any other version than the pinned one.

    :raises EngineFailed: another version is installed, or none.
    """
    found = installed()
    if found != PINNED:
        have = f"llama-cpp-python {found} is installed" if found else "llama-cpp-python is not installed"
        raise EngineFailed(f"{have}; this version of vllama needs exactly {PINNED}")
