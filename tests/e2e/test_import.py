"""Ollama's own store, made by Ollama itself, imported and served."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import tiny_gguf

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one model, which Ollama created from a file with a Go template and parameters."""
    result = subprocess.run([sys.executable, ROOT / "tools/ollama_cli.py"], capture_output=True, text=True, timeout=600, check=False)
    if result.returncode != 0:
        pytest.skip(f"no ollama command: {result.stderr.strip().splitlines()[-1]}")
    folder = tmp_path_factory.mktemp("ollama")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {**os.environ, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(folder / "models"), "HOME": str(folder)}
    modelfile = folder / "Modelfile"
    template = "{{ if .System }}S: {{ .System }}\n{{ end }}U: {{ .Prompt }}\nA: {{ .Response }}\n"
    modelfile.write_text(f'FROM {tiny_gguf.ensure("llama")}\nTEMPLATE """{template}"""\nSYSTEM Be short.\nPARAMETER stop "U:"\n')
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([result.stdout.strip(), "serve"], env=environment, stdout=log, stderr=log)
    try:
        _until_it_answers(f"http://{host}", folder / "log")
        command = [result.stdout.strip(), "create", "theirs", "-f", str(modelfile)]
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    finally:
        server.terminate()
        server.wait(10)
    return folder / "models"


def _until_it_answers(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text()[-2000:]) from None
            time.sleep(0.05)


def test_a_model_that_ollama_made_is_served_from_where_it_lies(store: Path, start) -> None:
    agent = start()
    home = agent.log.parent
    environment = {**os.environ, "VLLAMA_HOME": str(home)}
    command = [sys.executable, "-m", "vllama_agent", "import", "--from", "ollama", "--path", str(store)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "imported: theirs:latest Its Go template was translated into Jinja." in told
    chat = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    rendered = agent.client.post("/api/chat", json=chat | {"_debug_render_only": True}).json()
    assert rendered["_debug_info"]["rendered_template"] == "S: Be short.\nU: Hi\nA: "
    answer = agent.client.post("/api/chat", json=chat | {"options": {"num_predict": 3}}).json()
    assert answer["eval_count"] == 3
    shown = agent.client.post("/api/show", json={"model": "theirs"}).json()
    assert shown["parameters"] == f'{"stop":<30} "U:"'
    assert f"FROM {store}/blobs/sha256-" in shown["modelfile"]
    assert not (home / "blobs").exists()
    before = sorted(path.name for path in store.rglob("*"))
    assert agent.client.request("DELETE", "/api/delete", json={"model": "theirs"}).status_code == 200
    assert sorted(path.name for path in store.rglob("*")) == before
