"""Prometheus metrics: requests are counted as they end, engines are asked when somebody scrapes.

Nothing here runs per token but `Gaps.saw`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from vllama_agent.accounts import Account
from vllama_agent.engines.base import EngineStats, Usage
from vllama_agent.key_metrics import key_metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
GAP_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.7, 1.0, 2.0, 5.0)
"""Bounds between 500 µs (small models, many streams) and stalls of seconds."""

GAUGES = {
    "running": ("vllama_requests_running", "Requests that decode or prefill."),
    "waiting": ("vllama_requests_waiting", "Requests that wait for a place in the batch."),
    "kv_cells_used": ("vllama_kv_cells_used", "KV cells in use, idle prefixes included."),
    "grammars": ("vllama_grammars", "Running answers that are held to a grammar."),
    "kv_cells_cached": ("vllama_kv_cells_cached", "KV cells that only idle prefixes hold."),
    "kv_cells_total": ("vllama_kv_cells", "KV cells of the pool."),
    "tokens_per_second": ("vllama_tokens_per_second", "Generated tokens per second over the last few seconds."),
}
COUNTERS = {
    "steps_total": ("vllama_steps", "Steps of the scheduler."),
    "prompt_tokens_computed_total": ("vllama_prompt_tokens_computed", "Prompt tokens that were computed."),
    "prompt_tokens_reused_total": ("vllama_prompt_tokens_reused", "Prompt tokens taken from the prefix cache."),
    "generated_tokens_total": ("vllama_generated_tokens", "Tokens generated."),
    "preemptions_total": ("vllama_preemptions", "Requests set back because KV cells ran out."),
    "context_shifts_total": ("vllama_context_shifts", "Full windows whose older half was dropped."),
    "evicted_cells_total": ("vllama_kv_cells_evicted", "KV cells of idle prefixes that were given up."),
}


class Loaded(Protocol):
    """What is asked at a scrape."""

    def engine_stats(self) -> Iterable[tuple[str, EngineStats]]:
        """Name and numbers of each loaded model."""
        ...

    def memory(self) -> tuple[int, int | None]:
        """Bytes that loaded models take, and may take; None = no bound."""
        ...

    def loads(self) -> Mapping[str, int]:
        """How often each model was loaded."""
        ...

    def key_accounts(self) -> Iterable[Account]:
        """What each name in the file of keys uses."""
        ...


class Gaps:
    """Times between the tokens of a model's answers, as a histogram that costs one bisection per piece."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(GAP_SECONDS) + 1)
        self.total = 0.0

    def saw(self, seconds: float) -> None:
        """A piece came so many seconds after the one before."""
        self.counts[bisect_left(GAP_SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        found, sum_so_far = [], 0
        for bound, count in zip((*map(str, GAP_SECONDS), "+Inf"), self.counts, strict=True):
            sum_so_far += count
            found.append((bound, float(sum_so_far)))
        return found


class Metrics(Collector):
    """Everything that /metrics says."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._gaps: dict[str, Gaps] = {}
        self._registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("vllama_requests", "HTTP requests answered.", ["route", "status"], **made)
        self._seconds = Histogram("vllama_request_seconds", "From request to the end of its answer.", ["route"], buckets=SECONDS, **made)
        self._queue = Histogram("vllama_queue_seconds", "From submission to the first step.", ["model"], buckets=SECONDS, **made)
        self._first = Histogram(
            "vllama_time_to_first_token_seconds", "From request to the first piece.", ["model"], buckets=SECONDS, **made
        )
        self._prompt = Counter("vllama_prompt_tokens", "Prompt tokens of answered requests.", ["model"], **made)
        self._answer = Counter("vllama_answer_tokens", "Generated tokens of answered requests.", ["model"], **made)
        self._truncated = Counter("vllama_prompts_truncated", "Prompts that were cut to fit the context.", ["model"], **made)
        self._registry.register(self)

    def request(self, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        """The first piece of an answer came."""
        self._first.labels(model).observe(seconds)

    def answer(self, model: str, usage: Usage) -> None:
        """An answer is complete."""
        self._queue.labels(model).observe(usage.queue_seconds)
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._answer.labels(model).inc(usage.generated_tokens)

    def truncated(self, model: str) -> None:
        """A prompt was cut."""
        self._truncated.labels(model).inc()

    def gaps(self, model: str) -> Gaps:
        """Where the times between a model's tokens are counted."""
        return self._gaps.setdefault(model, Gaps())

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called at a scrape."""
        gaps = HistogramMetricFamily("vllama_inter_token_seconds", "Between the pieces of an answer.", labels=["model"])
        for model, seen in self._gaps.items():
            gaps.add_metric([model], seen.buckets(), seen.total)
        yield gaps
        yield from self._pool_metrics()
        yield from engine_metrics(self._loaded.engine_stats())
        yield from key_metrics(self._loaded.key_accounts())

    def _pool_metrics(self) -> Iterator[Metric]:
        taken, budget = self._loaded.memory()
        yield GaugeMetricFamily("vllama_model_memory_bytes", "Memory that loaded models take, as far as is known.", value=taken)
        if budget is not None:
            yield GaugeMetricFamily("vllama_model_memory_budget_bytes", "Memory that all models together may take.", value=budget)
        loads = CounterMetricFamily("vllama_model_loads", "Loads of each model since the agent's start.", labels=["model"])
        for model, count in self._loaded.loads().items():
            loads.add_metric([model], count)
        yield loads


def engine_metrics(engines: Iterable[tuple[str, EngineStats]]) -> list[Metric]:
    """The engines' own numbers. Totals start anew when an engine is loaded, as Prometheus expects of counters."""
    gauges = {key: GaugeMetricFamily(name, help_, labels=["model"]) for key, (name, help_) in GAUGES.items()}
    counters = {key: CounterMetricFamily(name, help_, labels=["model"]) for key, (name, help_) in COUNTERS.items()}
    parts = CounterMetricFamily("vllama_step_seconds", "Time per part of a step.", labels=["model", "part"])
    for model, stats in engines:
        for key, gauge in gauges.items():
            gauge.add_metric([model], getattr(stats, key))
        for key, counter in counters.items():
            counter.add_metric([model], getattr(stats, key))
        for part, seconds in stats.step_seconds_total.items():
            parts.add_metric([model, part], seconds)
    return [*gauges.values(), *counters.values(), parts]
