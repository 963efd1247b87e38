"""vLLM's /metrics, as `base.EngineStats`. Pure.

https://docs.vllm.ai/en/v0.32.0/usage/metrics/
"""

from __future__ import annotations

import re

SAMPLE = re.compile(rb"^vllm:(\w+?)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def read(text: bytes) -> dict[str, float]:
    """Values by name, without the prefix; of one that has several labels their sum."""
    found: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        key = name.decode()
        found[key] = found.get(key, 0.0) + float(value)
    return found
