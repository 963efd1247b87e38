"""The one llama-cpp-python that this version works with: engine, quantizer and converter all come from it."""

from __future__ import annotations

import importlib.metadata

from vllama_core.errors import EngineFailed

PINNED = "0.3.36"


def installed() -> str | None:
    """The version in this interpreter, without importing it; None: there is none."""
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return None


def check() -> None:
    """Refuse any other version than the pinned one.

    :raises EngineFailed: another version is installed, or none.
    """
    found = installed()
    if found != PINNED:
        have = f"llama-cpp-python {found} is installed" if found else "llama-cpp-python is not installed"
        raise EngineFailed(f"{have}; this version of vllama needs exactly {PINNED}")
