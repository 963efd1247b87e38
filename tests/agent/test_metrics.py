"""What Prometheus reads, and what log lines hold."""

import json
import logging

from vllama_agent import logs, metrics
from vllama_agent.engines.base import EngineStats, Usage


class Loaded:
    def engine_stats(self):
        yield "m", EngineStats(running=2, waiting=1, kv_cells_total=100, prompt_tokens_reused_total=7, step_seconds_total={"decode": 1.5})

    def memory(self):
        return 700, 1000

    def loads(self):
        return {"m": 3}

    def key_accounts(self):
        return ()


def test_engines_are_asked_at_the_scrape():
    text = metrics.Metrics(Loaded()).text().decode()
    for line in (
        'vllama_requests_running{model="m"} 2.0',
        'vllama_requests_waiting{model="m"} 1.0',
        'vllama_kv_cells{model="m"} 100.0',
        "vllama_model_memory_bytes 700.0",
        "vllama_model_memory_budget_bytes 1000.0",
        'vllama_model_loads_total{model="m"} 3.0',
        'vllama_prompt_tokens_reused_total{model="m"} 7.0',
        'vllama_step_seconds_total{model="m",part="decode"} 1.5',
    ):
        assert line in text


def test_answers_and_gaps():
    seen = metrics.Metrics(Loaded())
    seen.answer("m", Usage(prompt_tokens=5, cached_tokens=0, generated_tokens=3, queue_seconds=0.2))
    seen.first_token("m", 0.3)
    for gap in (0.0004, 0.03, 9.0):
        seen.gaps("m").saw(gap)
    text = seen.text().decode()
    for line in (
        'vllama_prompt_tokens_total{model="m"} 5.0',
        'vllama_answer_tokens_total{model="m"} 3.0',
        'vllama_queue_seconds_sum{model="m"} 0.2',
        'vllama_time_to_first_token_seconds_count{model="m"} 1.0',
        'vllama_inter_token_seconds_bucket{le="0.0005",model="m"} 1.0',
        'vllama_inter_token_seconds_bucket{le="0.03",model="m"} 2.0',
        'vllama_inter_token_seconds_bucket{le="+Inf",model="m"} 3.0',
    ):
        assert line in text


def record(**extra):
    made = logging.LogRecord("vllama.x", logging.INFO, "f", 1, "hello %s", ("you",), None)
    made.__dict__.update(extra)
    return made


def test_json_lines():
    line = json.loads(logs.JsonFormatter().format(record(model="m", status=200)))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "vllama.x", "message": "hello you", "model": "m", "status": 200}


def test_text_lines():
    assert logs.TextFormatter("%(message)s").format(record(model="m", nothing=None)) == "hello you  model=m"
