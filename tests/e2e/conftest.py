"""The agent as people get it: built into a wheel, installed, and run as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import descendants
import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import llama_sdist  # noqa: E402 - they lie in tools/
import tiny_gguf  # noqa: E402

START_SECONDS = 90.0
SLOW_SECONDS = 60.0
"""For what takes a moment: two busy cores make it take longer, and only what hangs must fail."""


@dataclass
class Agent:
    """A running `vllama serve`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    model: str
    key: str | None = field(default=None, repr=False)
    trusted: ssl.SSLContext | None = None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        self.client = httpx.Client(base_url=self.url, timeout=60, headers=headers, verify=self.trusted or True)

    @property
    def url(self) -> str:
        return f"http{'' if self.trusted is None else 's'}://127.0.0.1:{self.port}"

    def with_thinker(self) -> Agent:
        """Itself, with the same weights as a second model, `thinker`, whose template knows tools and thoughts."""
        template = (llama_sdist.llama_cpp() / "models" / "templates" / "Qwen-Qwen3-0.6B.jinja").read_text()
        body = {"model": "thinker", "from": self.model, "template": template, "stream": False}
        assert self.client.post("/api/create", json=body).json() == {"status": "success"}
        return self

    def end(self) -> None:
        """Stop it, without the thinker: the next agent of the module has the same home, and maybe another engine."""
        self.client.request("DELETE", "/api/delete", json={"model": "thinker"})
        self.process.terminate()
        self.process.wait(60)

    def load(self) -> dict[str, int]:
        """Running and waiting requests of the model, as the engine last told."""
        return self.client.get("/load").json()["models"][self.model]

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def children(self, name: str) -> list[psutil.Process]:
        """Live descendants whose command line names a module."""
        return descendants.named(name, self.process.pid)

    def working(self, name: str) -> psutil.Process:
        """The child of a module that has loaded a model; beside it one of each may wait for its first."""
        return max(self.children(name), key=lambda process: process.memory_info().rss)

    def until(self, condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = SLOW_SECONDS) -> None:
        """Poll for something that another process does.

        :param what: it, in words; where these tell what is there instead, they are asked for when the time is over.
        :raises AssertionError: it did not happen; the agent's log is shown.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                told = what if isinstance(what, str) else what()
                raise AssertionError(f"not within {seconds} s: {told}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def idle(self) -> bool:
        load = self.load()
        return load["running"] == 0 and load["waiting"] == 0


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents, to stand before the source tree on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, timeout=300)
    return folder / "site"


@pytest.fixture(scope="session")
def ollama_cli() -> str:
    """The real command."""
    result = subprocess.run([sys.executable, ROOT / "tools/ollama_cli.py"], capture_output=True, text=True, timeout=600, check=False)
    if result.returncode != 0:
        pytest.skip(f"no ollama command: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout.strip()


Start = Callable[..., Agent]


@pytest.fixture(scope="module")
def start(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start agents on a tiny random llama (or another model); all of them end with the module."""
    agents: list[Agent] = []
    home = tmp_path_factory.mktemp("home")

    def begin(
        *flags: str,
        model: str | Path | None = None,
        bare: bool = False,
        ready: bool = True,
        key: str | None = None,
        trusted: ssl.SSLContext | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Agent:
        """
        :param key: for the client; the file of keys is a flag.
        :param trusted: the agent serves HTTPS.
        """
        named = [] if bare else ["--model", str(model or tiny_gguf.ensure("llama"))]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = home / f"agent-{len(agents)}.log"
        command = [sys.executable, "-m", "vllama_agent", "serve", "--port", str(port), *named, *flags]
        environment = {**os.environ, "PYTHONPATH": str(installed), "VLLAMA_HOME": str(home), **(variables or {})}
        with open(log, "wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=home)
        agent = Agent(process, port, log, "", key, trusted)
        agents.append(agent)
        if ready:
            agent.until(lambda: process.poll() is not None or agent.is_ready(), "the agent is ready", START_SECONDS)
            assert process.poll() is None, log.read_text()
            agent.model = next((model["name"] for model in agent.client.get("/api/tags").json()["models"]), "")
        return agent

    yield begin
    for agent in agents:
        agent.client.close()
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(10)
