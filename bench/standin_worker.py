"""A worker that computes nothing: it answers every submission with frames of words at a rate, in the real one's wire.

Run by the engine in place of the real worker (see `bench.standin`). The first frame of an answer goes out at once; the others keep
the total rate that VLLAMA_BENCH_STANDIN_RATE names (tokens per second), one frame per step for all answers, as the real one sends them.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from vllama_agent.engines.llama_cpp import wire
from vllama_agent.engines.llama_cpp.frames import Disconnected, FrameSocket

WORDS = (" the", " of", " and", " model", " served", " tokens", " quickly", "\n", ' "quoted"', " naïve")
STATS_SECONDS = 0.2


class StandIn:
    """Answers and the pace."""

    def __init__(self, link: FrameSocket, rate: float) -> None:
        self._link = link
        self._rate = rate
        self._left: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._made = 0
        self._due = time.monotonic()
        self._stats_sent = 0.0

    def run(self) -> None:
        self._link.send(_hello())
        while True:
            wait = self._due - time.monotonic() if self._left else None
            messages = self._link.poll() if wait is not None and wait <= 0 else self._link.wait(wait)
            fresh = [row for message in messages if (row := self._receive(message))]
            if fresh:
                self._link.send({"t": "step", "rows": fresh})
            if self._left and time.monotonic() >= self._due:
                self._step()

    def _receive(self, message: dict[str, Any]) -> list[Any] | None:
        if message["t"] == "cancel":
            self._left.pop(message["id"], None)
            self._asked.pop(message["id"], None)
        if message["t"] != "submit":
            return None
        if not self._left:
            self._due = time.monotonic()
        self._left[message["id"]] = self._asked[message["id"]] = message["max_tokens"]
        return self._row(message["id"])

    def _step(self) -> None:
        rows = [self._row(request) for request in list(self._left)]
        # a schedule, not a sleep: a late frame is followed by an early one, so the rate holds
        self._due += len(rows) / self._rate
        frame: dict[str, Any] = {"t": "step", "rows": rows}
        now = time.monotonic()
        if now - self._stats_sent > STATS_SECONDS:
            self._stats_sent = now
            frame["stats"] = {"running": len(self._left), "generated_tokens_total": self._made}
        self._link.send(frame)

    def _row(self, request: int) -> list[Any]:
        self._left[request] -= 1
        self._made += 1
        row = [request, 1000 + self._made % 1000, WORDS[self._made % len(WORDS)]]
        if self._left[request] > 0:
            return row
        del self._left[request]
        return [*row, None, "length", [32, 0, self._asked.pop(request), 0.0, 0.0, 0.0, 0], None]


def _hello() -> dict[str, Any]:
    return {
        "t": "hello",
        "protocol": wire.PROTOCOL,
        "version": "stand-in",
        "context_length": 8192,
        "trained_context": 8192,
        "kv_cells": 32768,
        "parallel": 64,
        "vocab_size": 262144,
        "memory_bytes": 1 << 30,
        "placement": {"devices": [], "offloaded": None, "layers": None, "gpu_bytes": 0},
        "chat_template": None,
        "insert": False,
    }


def main() -> int:
    link = FrameSocket(int(sys.argv[-1]))
    try:
        link.wait()
        StandIn(link, float(os.environ["VLLAMA_BENCH_STANDIN_RATE"])).run()
    except Disconnected:
        return 0


if __name__ == "__main__":
    sys.exit(main())
