"""The real worker, but one that says at once when a cancelled request is gone, and its counts with every step.

The worker itself tells its counts five times a second. A measurement needs the moment, so this sends a frame more per cancellation.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from vllama_agent.engines.llama_cpp import frames, worker


class EagerWorker(worker.Worker):
    """Reports as soon as a cancellation has been carried out, which is before the next step is planned."""

    def _receive(self, message: dict[str, Any]) -> None:
        super()._receive(message)
        if message["t"] == "cancel":
            self._link.send({"t": "step", "rows": [], "stats": self._stats(time.monotonic())})


def main() -> int:
    worker.STATS_SECONDS = 0.0
    worker.Worker = EagerWorker  # type: ignore[misc]
    return frames.run_child(worker.work)


if __name__ == "__main__":
    sys.exit(main())
