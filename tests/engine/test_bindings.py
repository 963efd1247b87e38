"""The bindings come without the package that brings them, and leave it whole for others."""

from __future__ import annotations

import subprocess
import sys

ALONE = """
import sys
from vllama_agent.engines.llama_cpp.bindings import C
assert C.llama_max_devices() > 0
print(sorted({name.partition(".")[0] for name in sys.modules} & {"jinja2", "diskcache", "llama_cpp"}))
import llama_cpp
assert llama_cpp.llama_cpp is C
print(llama_cpp.Llama.__name__)
"""


def test_the_bindings_load_nothing_else_and_the_whole_package_can_still_be_had() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["['llama_cpp']", "Llama"]
