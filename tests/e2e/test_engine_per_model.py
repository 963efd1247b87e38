"""One agent whose models run on different engines, each as its entry of vllama.yaml says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import vllms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import tiny_gguf
import vllm_cpu

START_SECONDS = 240.0


def entry(name: str, source: Path, **engine: Any) -> dict[str, Any]:
    return {"model": {"source": str(source), "name": name}, "engine": engine, "resources": {"contextLength": 512}}


def test_two_models_run_on_the_engines_that_each_was_given(start: Any, tmp_path: Path) -> None:
    python = vllms.python()
    models = [
        entry("small", tiny_gguf.ensure("llama"), type="llamacpp", options={"parallel": 4}),
        entry("large", vllm_cpu.tiny_model(), type="vllm", options={"parallel": 4}, args=[vllms.EAGER]),
    ]
    file = tmp_path / "vllama.yaml"
    file.write_text(json.dumps({"models": models}))
    agent = start("--config", str(file), bare=True, ready=False, variables={"VLLAMA_VLLM_PYTHON": str(python)})
    agent.until(lambda: agent.process.poll() is not None or agent.is_ready(), "both are ready", START_SECONDS)
    assert agent.process.poll() is None, agent.log.read_text()
    for name in ("small", "large"):
        body = {"model": name, "prompt": "the weather", "raw": True, "stream": False, "options": {"num_predict": 4, "temperature": 0}}
        answer = agent.client.post("/api/generate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["eval_count"] == 4
    [server] = [process for process in agent.children(vllms.MODULE) if "keeper" not in " ".join(process.cmdline())][:1]
    assert vllms.EAGER in server.cmdline()
    assert agent.children("llama_cpp.worker")


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ({"type": "vllm", "args": ["--port", "1"]}, "models[0].engine.args[0] is '--port', which is not to be given"),
        ({"type": "vllm"}, "needs Hugging Face files, but this model is here as GGUF only"),
    ],
    ids=["a forbidden argument", "a file that the engine does not load"],
)
def test_what_an_engine_cannot_do_is_told(start: Any, tmp_path: Path, engine: dict[str, Any], told: str) -> None:
    file = tmp_path / "vllama.yaml"
    file.write_text(json.dumps({"models": [entry("m", tiny_gguf.ensure("llama"), **engine)]}))
    agent = start("--config", str(file), bare=True, ready=False, variables={"VLLAMA_VLLM_PYTHON": str(vllms.python())})
    agent.until(lambda: told in agent.log.read_text(), told)
