"""A wheel outside the tree fetches a model by its name and serves it, and the real `ollama` command pulls through it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fake_hub
import pytest

import tiny_gguf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with fake_hub.in_a_thread() as running, pytest.MonkeyPatch.context() as patch:
        running.add("me/tiny-GGUF", {"tiny-Q4_K_M.gguf": tiny_gguf.ensure("llama")})
        running.add("me/other-GGUF", {"other-Q4_K_M.gguf": tiny_gguf.ensure("qwen2")})
        patch.setenv("HF_ENDPOINT", running.endpoint)
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "0")
        yield running


@pytest.fixture(scope="module")
def agent(hub, start):
    return start(model="me/tiny-GGUF")


def test_a_name_is_fetched_and_served(agent) -> None:
    assert agent.model == "me/tiny-GGUF:latest"
    body = {"model": "hf.co/me/tiny-GGUF", "prompt": "x", "stream": False, "options": {"num_predict": 4}}
    assert agent.client.post("/api/generate", json=body).json()["eval_count"] == 4


def test_the_real_ollama_command_pulls(agent, hub) -> None:
    found = subprocess.run([sys.executable, ROOT / "tools/ollama_cli.py"], capture_output=True, text=True, timeout=600, check=False)
    if found.returncode != 0:
        pytest.skip(f"no ollama command: {found.stderr.strip().splitlines()[-1]}")
    environment = {**os.environ, "OLLAMA_HOST": agent.url, "HOME": str(agent.log.parent)}
    pulled = subprocess.run(
        [found.stdout.strip(), "pull", "hf.co/me/other-GGUF:Q4_K_M"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert pulled.returncode == 0, pulled.stderr
    assert "success" in pulled.stderr
    listed = subprocess.run([found.stdout.strip(), "list"], capture_output=True, text=True, timeout=60, env=environment, check=True)
    assert "me/other-GGUF:Q4_K_M" in listed.stdout
    missing = subprocess.run(
        [found.stdout.strip(), "pull", "hf.co/nobody/nothing"], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert missing.returncode == 1
    assert "nobody/nothing is not on the hub" in missing.stderr
