"""What is told about an answer beside its text."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from vllama_agent.engines.base import Delta, FinishReason, Usage
from vllama_agent.metrics import Metrics
from vllama_agent.server.answers import Watch


def final(shifts: int) -> Delta:
    usage = Usage(prompt_tokens=3, cached_tokens=0, generated_tokens=9, context_shifts=shifts)
    return Delta("", [1], finish=FinishReason.LENGTH, usage=usage)


def test_the_log_tells_that_older_tokens_were_dropped(caplog) -> None:
    caplog.set_level(logging.INFO)
    service = SimpleNamespace(metrics=Metrics(SimpleNamespace(engine_stats=list)))
    Watch(service, "m", 0.0).saw(final(0))
    assert not caplog.records
    Watch(service, "m", 0.0).saw(final(2))
    (record,) = caplog.records
    assert "full window" in record.message
    assert (record.model, record.shifts) == ("m", 2)
