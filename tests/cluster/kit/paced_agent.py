"""The agent with an engine that makes four pieces a second, however busy the machine is, so that a stream's end is known when it begins.

Runs in pods instead of the image's entry point, with the same arguments. All but the engine and the store is the product's own.
"""

from __future__ import annotations

import os
import sys

from vllama_agent import server
from vllama_agent.commands import serve, settings
from vllama_agent.testing import FakeEngine, FakeStore

PIECES_PER_SECOND = 4
MODEL = "paced:latest"


def main() -> int:
    config = settings.read(serve.parser("vllama").parse_args(sys.argv[2:]), os.environ)
    return server.run(config, store=FakeStore(MODEL), make_engine=lambda *_: FakeEngine(delay=1 / PIECES_PER_SECOND))


if __name__ == "__main__":
    sys.exit(main())
