"""The image `agent-cuda`: its own layer, on a base that stands in for vLLM's and has the rebuild for CPUs.

No GPU, and not vLLM's own image.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

OPEN = {"VLLAMA_NO_AUTH": "1"}
VLLM_SECONDS = 300.0
"""vLLM imports torch three times before it loads anything."""


def test_answers_a_chat_by_vllm_with_a_read_only_root_and_no_root_user(start_cuda) -> None:
    run = start_cuda("--ctx-size", "512", "--parallel", "4", "--engine", "vllm", "--engine-args=--enforce-eager", environment=OPEN)
    run.until_ready(VLLM_SECONDS)
    with run.client() as client:
        name = client.get("/api/tags").json()["models"][0]["name"]
        messages = [{"role": "user", "content": "the weather"}]
        answer = client.post("/api/chat", json={"model": name, "messages": messages, "stream": False, "options": {"num_predict": 8}})
    assert answer.json()["message"]["role"] == "assistant"
    assert 0 < answer.json()["eval_count"] <= 8
    assert "starting vLLM" in run.log.read_text()
    assert run.stop() == 0


def test_says_which_interpreter_has_vllm_and_nothing_of_keys(cuda_image) -> None:
    told = dict(entry.split("=", 1) for entry in cuda_image.config["Env"])
    assert set(told) == {"PATH", "HF_HOME", "HOME", "VLLAMA_HOME", "VLLAMA_HOST", "VLLAMA_VLLM_PYTHON"}
    assert told["VLLAMA_VLLM_PYTHON"] == "/usr/bin/python3"
    assert cuda_image.config["User"] == "65532:65532"


def test_keeps_the_agents_packages_apart_from_vllms(cuda_image) -> None:
    [packages] = (cuda_image.files / "opt/vllama/lib").glob("python3*/site-packages")
    assert (packages / "vllama_agent").is_dir()
    assert not {"torch", "vllm", "llama_cpp", "pip"} & {entry.name for entry in packages.iterdir()}
