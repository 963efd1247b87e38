"""A server with keys, limits and TLS, reached by programs that know of none of it: `vllama connect`, and the real `ollama` command."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pem
import psutil
import pytest

KEY, LIMITED = "e2e-s3cret-key", "e2e-limited-key"
PROMPT = "Paris is the capital of"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protected")
    (folder / "keys").write_text(f"{KEY} name=me\n{LIMITED} name=guest concurrency=1 tokens-per-minute=100000\n")
    pem.make(folder)
    return folder


@pytest.fixture(scope="module")
def agent(start, files: Path):
    flags = ["--api-key-file", str(files / "keys"), "--tls-cert", str(files / "server.crt"), "--tls-key", str(files / "server.key")]
    return start(*flags, key=KEY, trusted=ssl.create_default_context(cafile=str(files / "server.crt")))


@contextlib.contextmanager
def connected(agent, files: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The proxy as a process, its address, and what it has said so far."""
    command = [sys.executable, "-m", "vllama_agent", "connect", agent.url, "--api-key-file", str(files / "keys"), "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"listening on (http://\S+) for", line):
                    break
            else:
                raise AssertionError("".join(said))
            rest = threading.Thread(target=lambda: said.extend(process.stderr), name="what the proxy says")
            rest.start()
            yield process, found[1], said
            process.terminate()
            rest.join(10)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def proxy(agent, files: Path) -> Iterator[str]:
    with connected(agent, files, "--ca-file", str(files / "server.crt")) as (process, url, said):
        yield url
        words = psutil.Process(process.pid).cmdline()
        process.terminate()
        assert process.wait(10) == 0
    assert KEY not in "".join(said) + " ".join(words)


def left(agent) -> int:
    """Requests in the house."""
    return agent.client.get("/load").json()["inflight"]


def run(command: list[str], url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OLLAMA_HOST": url, "HOME": str(folder)}
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_the_ollama_command_uses_a_protected_server(agent, files: Path, proxy: str, ollama_cli: str) -> None:
    """Without the proxy it cannot: it sends no key, and does not know the certificate."""
    assert run([ollama_cli, "list"], agent.url, files).returncode == 1
    assert agent.model in run([ollama_cli, "list"], proxy, files).stdout
    assert "llama" in run([ollama_cli, "show", agent.model], proxy, files).stdout
    assert agent.model in run([ollama_cli, "ps"], proxy, files).stdout
    (files / "Modelfile").write_text(f"FROM {agent.model}\nPARAMETER num_predict 8\n")
    assert run([ollama_cli, "create", "brief", "-f", str(files / "Modelfile")], proxy, files).returncode == 0
    answered = run([ollama_cli, "run", "brief", PROMPT], proxy, files)
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip()
    assert run([ollama_cli, "rm", "brief"], proxy, files).returncode == 0


def test_killing_the_ollama_command_ends_the_servers_work(agent, files: Path, proxy: str, ollama_cli: str) -> None:
    environment = {**os.environ, "OLLAMA_HOST": proxy, "HOME": str(files)}
    (files / "Modelfile").write_text(f"FROM {agent.model}\nPARAMETER num_predict -1\n")
    run([ollama_cli, "create", "endless", "-f", str(files / "Modelfile")], proxy, files)
    command = [ollama_cli, "run", "endless", PROMPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.read(4)
        process.kill()
    agent.until(lambda: left(agent) == 0, "the killed command's request is gone")


def test_limits_hold_on_the_real_process(agent) -> None:
    body = {"model": agent.model, "prompt": PROMPT, "options": {"num_predict": 2000}}
    headers = {"Authorization": f"Bearer {LIMITED}"}
    with agent.client.stream("POST", "/api/generate", json=body, headers=headers) as first:
        lines = first.iter_lines()
        assert next(lines)
        second = agent.client.post("/api/generate", json=body, headers=headers)
        assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
    agent.until(lambda: left(agent) == 0, "the first request is gone")
    assert agent.metric('vllama_key_refused_total{key="guest",limit="concurrency"}') == 1


def test_a_renewed_certificate_is_served_without_a_restart(agent, files: Path) -> None:
    """In uvloop, which the process runs on; tests/agent has the rest."""
    folder = files / "renewed"
    folder.mkdir()
    certificate, key = pem.make(folder)
    os.replace(key, files / "server.key")
    os.replace(certificate, files / "server.crt")
    trusted = ssl.create_default_context(cafile=str(files / "server.crt"))
    assert httpx.get(f"{agent.url}/livez", verify=trusted, timeout=10).text == "ok"
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        httpx.get(f"{agent.url}/livez", verify=agent.trusted, timeout=10)


def test_the_proxy_says_at_its_start_what_stands_in_the_way(agent, files: Path) -> None:
    (files / "wrong").mkdir()
    (files / "wrong" / "keys").write_text("not-one-of-them\n")
    with connected(agent, files) as (_, url, said):
        assert httpx.get(f"{url}/api/tags", timeout=30).status_code == 502
    assert "the certificate of" in "".join(said)
    with connected(agent, files / "wrong", "--ca-file", str(files / "server.crt")) as (_, url, said):
        assert httpx.get(f"{url}/api/tags", timeout=30).status_code == 401
    assert "refuses the key" in "".join(said)
    assert "not-one-of-them" not in "".join(said)
