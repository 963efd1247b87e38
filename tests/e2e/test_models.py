"""Several models in one agent: a memory for one of them, a memory for both, and a configuration that changes under load."""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import tiny_gguf

WORKER = "llama_cpp.worker"
WHOLE = 10
"""Below the agent with one model: its worker and two text helpers, one of each that waits for the next model, and a keeper for each."""
NEVER_END = {"2": -100}


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return {"a": tiny_gguf.ensure("llama"), "b": tiny_gguf.ensure("qwen2")}


def written(folder: Path, **models: tuple[Path, dict[str, object]]) -> Path:
    """A vllama.yaml; JSON is YAML."""
    entries = [
        {"model": {"source": str(file), "name": name}, "resources": {"contextLength": 512, **resources}}
        for name, (file, resources) in models.items()
    ]
    path = folder / "vllama.yaml"
    path.write_text(json.dumps({"models": entries}, indent=1))
    return path


def ask(agent, model: str, tokens: int = 8, **more: object) -> httpx.Response:
    options = {"num_predict": tokens, "temperature": 0, "logit_bias": NEVER_END}
    body = {"model": model, "prompt": f"tell {model} everything", "raw": True, "stream": False, "options": options, **more}
    return httpx.post(f"{agent.url}/api/generate", json=body, timeout=120)


def loads(agent) -> dict[str, float]:
    lines = agent.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("vllama_model_loads_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in found}


def present(agent) -> dict[str, dict[str, object]]:
    return {model["name"]: model for model in agent.client.get("/api/ps").json()["models"]}


def test_switching_between_two_models_that_both_fit_loads_each_once(start, files, tmp_path: Path) -> None:
    agent = start("--config", str(written(tmp_path, a=(files["a"], {}), b=(files["b"], {}))), bare=True)
    for _ in range(5):
        assert ask(agent, "a").status_code == ask(agent, "b").status_code == 200
    assert loads(agent) == {"a:latest": 1, "b:latest": 1}
    shown = present(agent)
    assert set(shown) == {"a:latest", "b:latest"}
    assert {model["context_length"] for model in shown.values()} == {512}
    assert all(model["size"] > 20_000_000 and model["size_vram"] == 0 for model in shown.values())


def test_two_models_in_the_memory_of_one_answer_a_mixed_crowd(start, files, tmp_path: Path) -> None:
    """200 requests, half for each, forty at a time: none fails, never are two models loaded, nothing is left over."""
    config = written(tmp_path, a=(files["a"], {"memory": "600MB"}), b=(files["b"], {"memory": "600MB"}))
    agent = start("--config", str(config), "--memory", "1GB", "--keep-alive", "5m", bare=True)
    with ThreadPoolExecutor(40) as crowd:
        answers = [crowd.submit(ask, agent, "ab"[number % 2], 4 + number % 5) for number in range(200)]
        together = 0
        while not all(answer.done() for answer in answers):
            together = max(together, len(present(agent)))
    assert [answer.result().status_code for answer in answers] == [200] * 200
    assert {answer.result().json()["eval_count"] for answer in answers} == set(range(4, 9))
    assert together == 1
    agent.until(lambda: len(agent.children(WORKER)) == 4, "one worker, one that waits, and their keepers are left")
    agent.until(lambda: len(psutil.Process(agent.process.pid).children(recursive=True)) == WHOLE, "no process is left over")
    [shown] = present(agent).values()
    assert loads(agent)[str(shown["name"])] >= 1
    assert sum(loads(agent).values()) < 100
    assert agent.client.get("/load").json()["inflight"] == 0


def test_a_model_that_cannot_have_its_memory_is_refused_with_the_figures(start, files, tmp_path: Path) -> None:
    config = written(tmp_path, a=(files["a"], {"memory": "600MB"}))
    agent = start("--config", str(config), "--memory", "700MB", "--model", str(files["b"]), bare=True, ready=False)
    agent.until(lambda: _why(agent).startswith(("a:latest could not", f"{files['b'].stem}:latest could not")), "readyz says why", 30)
    assert "requires more system memory" in _why(agent)


def _why(agent) -> str:
    try:
        return agent.client.get("/readyz").text
    except httpx.TransportError:
        return ""


def test_a_request_for_more_context_has_an_idle_model_loaded_anew(start, files) -> None:
    """The tiny models are trained for 4,096; a Modelfile's num_ctx is what they are loaded with until somebody wants more."""
    agent = start()
    created = agent.client.post(
        "/api/create", json={"model": "small", "from": agent.model, "parameters": {"num_ctx": 256}, "stream": False}
    )
    assert created.status_code == 200, created.text
    assert ask(agent, "small").status_code == 200
    assert present(agent)["small:latest"]["context_length"] == 256
    wider = ask(
        agent, "small", 8, options={"num_ctx": 1024, "num_predict": 300, "temperature": 0, "logit_bias": NEVER_END}, prompt="x " * 500
    )
    assert (wider.status_code, wider.headers.get("X-Vllama-Ignored")) == (200, None)
    assert present(agent)["small:latest"]["context_length"] == 1024
    assert loads(agent)["small:latest"] == 2
    assert ask(agent, "small", options={"num_ctx": 128, "num_gpu": 1, "num_batch": 9, "num_predict": 4}).status_code == 200
    assert loads(agent)["small:latest"] == 2


def test_a_configuration_changes_under_load_and_cuts_no_stream(start, files, tmp_path: Path) -> None:
    config = written(tmp_path, a=(files["a"], {}), b=(files["b"], {}))
    agent = start("--config", str(config), bare=True)
    steady = loads(agent)["b:latest"]
    with ThreadPoolExecutor(16) as crowd:
        streams = [crowd.submit(_stream, agent, "ab"[number % 2], 400) for number in range(12)]
        agent.until(lambda: agent.client.get("/load").json()["inflight"] >= 6, "streams run")
        written(tmp_path, a=(files["a"], {"contextLength": 768}), b=(files["b"], {}), c=(files["a"], {"contextLength": 300}))
        agent.process.send_signal(signal.SIGHUP)
        agent.until(lambda: "the configuration was reloaded" in agent.log.read_text(), "the file is read again")
        assert agent.is_ready()
        more = [crowd.submit(_stream, agent, "abc"[number % 3], 200) for number in range(12)]
        for last in [future.result(120) for future in (*streams, *more)]:
            assert last["done_reason"] == "length", last
    agent.until(lambda: len(present(agent)) == 3, "the old engine is gone")
    assert {name: model["context_length"] for name, model in present(agent).items()} == {"a:latest": 768, "b:latest": 512, "c:latest": 300}
    assert loads(agent)["b:latest"] == steady == 1

    config.write_text("models:\n  - model: {sauce: a}\n")
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: f"{config}:2: models[0].model.sauce is not known here" in agent.log.read_text(), "the error is told")
    assert agent.is_ready()
    assert set(present(agent)) == {"a:latest", "b:latest", "c:latest"}

    written(tmp_path, b=(files["b"], {}))
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: set(present(agent)) == {"b:latest"}, "what was removed is unloaded")
    assert ask(agent, "b").status_code == 200
    assert loads(agent)["b:latest"] == 1


def _stream(agent, model: str, tokens: int) -> dict[str, object]:
    options = {"num_predict": tokens, "temperature": 0, "logit_bias": NEVER_END}
    body = {"model": model, "prompt": "tell me everything", "raw": True, "options": options}
    with httpx.stream("POST", f"{agent.url}/api/generate", json=body, timeout=120) as answer:
        assert answer.status_code == 200
        *_, last = answer.iter_lines()
    return json.loads(last)
