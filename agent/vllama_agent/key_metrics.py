"""What each name in the file of keys has used, for Prometheus. By name: a key itself is nowhere in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from vllama_agent.accounts import Account


def key_metrics(accounts: Iterable[Account]) -> Iterator[Metric]:
    """One family after the other."""
    requests = CounterMetricFamily("vllama_key_requests", "HTTP requests answered.", labels=["key", "status"])
    tokens = CounterMetricFamily("vllama_key_tokens", "Tokens of prompts and answers.", labels=["key", "kind"])
    refused = CounterMetricFamily("vllama_key_refused", "Requests refused by a limit of the key.", labels=["key", "limit"])
    running = GaugeMetricFamily("vllama_key_answers_running", "Answers that wait or run.", labels=["key"])
    for account in accounts:
        for status, count in account.requests.items():
            requests.add_metric([account.name, str(status)], count)
        tokens.add_metric([account.name, "prompt"], account.prompt_tokens)
        tokens.add_metric([account.name, "answer"], account.answer_tokens)
        for limit, count in account.refused.items():
            refused.add_metric([account.name, limit], count)
        running.add_metric([account.name], account.running)
    yield from (requests, tokens, refused, running)
