"""llama-cpp-python's ctypes bindings, `C`, without the rest of its package.

The package's ``__init__`` imports its own chat formats, cache and server types, which nobody here uses and which take as long as the
bindings and numpy together, in each child process. One version of it is accepted (`version.PINNED`), so what the bindings need is known.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGE = "llama_cpp"
BINDINGS = f"{PACKAGE}.llama_cpp"


def load() -> Any:
    """The bindings' module. A later ``import llama_cpp`` gets the whole package, over the same bindings.

    :raises ModuleNotFoundError: there is no llama-cpp-python.
    """
    if PACKAGE in sys.modules or BINDINGS in sys.modules:
        return importlib.import_module(BINDINGS)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    bare = ModuleType(PACKAGE)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[PACKAGE] = bare
    try:
        return importlib.import_module(BINDINGS)
    finally:
        del sys.modules[PACKAGE]


C = load()
