"""Secrets that are given to the real process, and every place that somebody may read: in none of them is one of the secrets."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
CANARY = "c4n4ry"
KEY = f"{CANARY}-of-the-key-file"
HUB = f"hf_{CANARY}OfTheHub"
CLOUD = f"{CANARY}-of-the-cloud"
PROMPT = f"{CANARY}-of-a-prompt"
WRONG = f"{CANARY}-of-a-stranger"

GARBAGE = (
    f"GET / HTTP/1.1\r\nAuthorization: Bearer {WRONG}\r\nBad header {WRONG}\r\n\r\n".encode(),
    f"{WRONG}\r\n\r\n".encode(),
    b"\x16\x03\x01" + WRONG.encode(),
)
"""What is no HTTP."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canary") / "keys"
    path.write_text(f"{KEY} name=me concurrency=8\n")
    return path


@pytest.fixture(scope="module")
def agent(start, keys: Path):
    variables = {"HF_TOKEN": HUB, "AWS_SECRET_ACCESS_KEY": CLOUD, "VLLAMA_API_KEY": KEY, "VLLAMA_DEBUG": "1"}
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "VLLAMA_OLLAMA_REGISTRY": "http://127.0.0.1:9"}
    return start("--api-key-file", str(keys), "--log-format", "json", key=KEY, variables=variables | offline)


def sent(agent, data: bytes) -> bytes:
    """What a plain socket gets for some bytes."""
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def told(agent, keys: Path) -> str:
    """Everything that the process says over HTTP and in its log while it is asked right, wrong, and while it breaks."""
    client, replies = agent.client, []

    def ask(method: str, path: str, **more) -> None:
        reply = client.request(method, path, **more)
        replies.append(f"{path} {reply.status_code} {reply.headers} {reply.text}")

    ask("POST", "/api/generate", json={"model": agent.model, "prompt": PROMPT, "stream": False, "options": {"num_predict": 1}})
    for name, value in (("Authorization", f"Bearer {WRONG}"), ("Authorization", f"Basic {WRONG}"), ("x-api-key", WRONG), ("Cookie", WRONG)):
        for path in ("/api/tags", "/v1/models", "/v1/messages", "/metrics", "/nowhere"):
            ask("GET", path, headers={name: value})
    ask("POST", "/api/chat", content=b'{"model": "m", "messages": "' + PROMPT.encode() + b"\xff")
    ask("POST", "/v1/chat/completions", json={"model": agent.model, "messages": [{"role": "user", "content": 5, "x": PROMPT}]})
    ask("POST", "/api/generate", json={"model": agent.model, "template": "{{ raise_exception('no') }}", "prompt": PROMPT})
    ask("POST", "/api/pull", json={"model": "org/repository", "stream": False})
    for path in ("/metrics", "/load", "/api/ps", "/api/tags", "/openapi.json", "/readyz", "/livez", "/api/status"):
        ask("GET", path)
    replies += [sent(agent, bytes_).decode("latin-1") for bytes_ in GARBAGE]
    keys.write_text(f"{KEY} name=me {WRONG}\n")
    ask("GET", "/api/tags")
    for child in agent.children("llama_cpp"):
        child.send_signal(signal.SIGKILL)
    body = {"model": agent.model, "prompt": PROMPT, "stream": False, "options": {"num_predict": 1}}
    agent.until(lambda: client.post("/api/generate", json=body).status_code == 200, "it recovers")
    return "\n".join([*replies, agent.log.read_text()])


def test_no_secret_is_told_over_http_or_in_the_log(told: str) -> None:
    assert "the API key is not known here" in told
    assert "the API key file" in told
    found = [told[max(at - 200, 0) : at + 80] for at in range(len(told)) if told.startswith(CANARY, at)]
    assert not found


def test_no_secret_is_in_an_argument_list_or_in_the_environment_of_a_child(agent, told: str) -> None:
    parent = psutil.Process(agent.process.pid)
    children = parent.children(recursive=True)
    assert len(children) >= 2
    for process in (parent, *children):
        assert CANARY not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert CANARY not in Path(f"/proc/{process.pid}/status").read_text()
    for child in children:
        assert CANARY not in Path(f"/proc/{child.pid}/environ").read_text(errors="replace")


def test_no_secret_is_written_to_the_store(agent, told: str) -> None:
    """Beside the log, which lies there too."""
    home = agent.log.parent
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size < 10_000_000]
    assert files
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    assert os.listdir(home)
