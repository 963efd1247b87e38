"""Run as a module it loads libllama and prints what that can run on as JSON; it stands in a process of its own, because a broken build
may crash."""

from __future__ import annotations

import dataclasses
import json

from vllama_agent.engines.llama_cpp import backends, lib
from vllama_core.errors import EngineFailed


def main() -> None:
    """Print the devices, or why there are none."""
    try:
        lib.start(lambda _line: None)
    except EngineFailed as error:
        print(json.dumps({"failed": str(error)}))
        return
    print(json.dumps({"devices": [dataclasses.asdict(device) for device in backends.devices()]}))


if __name__ == "__main__":
    main()
