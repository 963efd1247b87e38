"""`vllama engines`: which engines and converters are here, where, and why another is not; `install` makes an environment for one."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time

from vllama_agent.commands import output, settings
from vllama_core import human

COLUMNS = ("NAME", "VERSION", "PYTHON", "PROBLEM")


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `engines`."""
    made = argparse.ArgumentParser(prog=prog, description="Tell which engines and converters are here.", allow_abbrev=False)
    made.add_argument("--json", action="store_true", help="print what was found as JSON")
    actions = made.add_subparsers(dest="action", metavar="install")
    about = (
        "Make the environment of vLLM (Linux with NVIDIA GPUs), of MLX (Apple Silicon), or of the converter from Hugging Face files to "
        "GGUF, below $VLLAMA_HOME/envs. With uv where it is on the PATH, else with pip; both heed their own variables. For the converter "
        "an index with CPU builds of torch, named in PIP_EXTRA_INDEX_URL, makes it 1 GB instead of 5 on x86-64 Linux."
    )
    install = actions.add_parser("install", help="make an environment", description=about, allow_abbrev=False)
    install.add_argument("name", choices=("vllm", "mlx", "convert"), help="which one")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Look, or install.

    :raises ConfigError: the environment cannot be made.
    """
    home = settings.read(argparse.Namespace(), os.environ).home
    if arguments.action == "install":
        from vllama_agent.environments import install, layout

        begin = time.monotonic()
        made = install.install(home, layout.KINDS[arguments.name], tell=lambda words: print(words, file=sys.stderr))
        print(f"{arguments.name} is at {made.folder} ({human.span(time.monotonic() - begin)})")
        return 0
    from vllama_agent.environments import report

    found = report.reports(home)
    if arguments.json:
        output.as_json([dataclasses.asdict(one) for one in found])
    else:
        output.table(COLUMNS, [(one.name, one.version or "-", one.place or "-", one.problem or "") for one in found])
    return 0
