"""How long until there is a first token: from no process at all, and from an agent that runs with nothing loaded.

python -m bench.cold start demo warm 1     # `vllama serve` and llama-server from nothing to the first token, in seconds
python -m bench.cold start big dropped 1   # the same on a 1 GB model whose file is not in the page cache
python -m bench.cold load big warm 1       # a running agent loads a model; llama-server can only start with one

The number is the round: who comes first turns with it. llama-server is C++ and starts in milliseconds, so it stands for bare llama.cpp.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from bench import big_model, peers, places, servers

PROMPT = "Paris is the capital of"
POLL = 0.002
"""Seconds between attempts to reach a server that is starting."""
LIMIT = 120.0
"""Seconds; what takes longer has failed."""


def drop(path: Path) -> None:
    """Take a file out of the page cache; needs no rights but to read it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(path: Path) -> None:
    """Put a file into the page cache."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """A server's process, ended after."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        servers.stop(process)


def until(attempt: Callable[[], bool]) -> None:
    """Poll.

    :raises TimeoutError: it never came about.
    """
    deadline = time.perf_counter() + LIMIT
    while time.perf_counter() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if attempt():
                return
        time.sleep(POLL)
    raise TimeoutError(f"a server did not answer within {LIMIT:g} seconds")


def first_token(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    """Ask for one token and wait for the first bytes of it."""
    with client.stream("POST", path, json=body) as answer:
        answer.raise_for_status()
        next(answer.iter_raw())


class Ours:
    """`vllama serve`, with the model named at the start or by the first request."""

    def __init__(self, model: Path, home: str) -> None:
        self._port = servers.free_port()
        self._model = model
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=LIMIT)
        self._script = str(Path(sys.executable).with_name("vllama"))
        self._environment = {"VLLAMA_HOME": home}

    def start(self) -> float:
        """Seconds from nothing to the first token."""
        begin = time.perf_counter()
        with self._serving("--model", str(self._model)):
            until(lambda: self._client.get("/livez").status_code == 200)
            name = self._client.get("/api/tags").json()["models"][0]["name"]
            first_token(self._client, "/api/generate", {"model": name, "prompt": PROMPT, "raw": True, "options": {"num_predict": 1}})
            return time.perf_counter() - begin

    def load(self, prepare: Callable[[], None]) -> float:
        """Seconds of a load into a running agent."""
        with self._serving("--model", str(self._model), "--keep-alive", "1h"):
            until(lambda: self._client.get("/readyz").status_code == 200)
            name = self._client.get("/api/tags").json()["models"][0]["name"]
            self._client.post("/api/generate", json={"model": name, "keep_alive": 0}).raise_for_status()
            until(lambda: not self._client.get("/api/ps").json()["models"])
            time.sleep(1)  # its processes end
            prepare()
            begin = time.perf_counter()
            self._client.post("/api/generate", json={"model": name}).raise_for_status()
            return time.perf_counter() - begin

    def _serving(self, *flags: str) -> contextlib.AbstractContextManager[None]:
        return started([self._script, "serve", "--port", str(self._port), *flags], self._environment)


class LlamaServer:
    """llama-server at its defaults."""

    def __init__(self, model: Path) -> None:
        peer = peers.llama_server()
        self._port = servers.free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=LIMIT)
        self._command = [str(peer.binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(self._port)]
        self._environment = peers.library_path(peer) | servers.SPIN

    def run(self) -> tuple[float, float]:
        """Seconds from nothing to loaded, and to the first token."""
        begin = time.perf_counter()
        with started(self._command, self._environment):
            until(lambda: self._client.get("/health").status_code == 200)
            loaded = time.perf_counter() - begin
            first_token(self._client, "/completion", {"prompt": PROMPT, "n_predict": 1, "stream": True, "temperature": 0})
            return loaded, time.perf_counter() - begin


def measure(what: str, which: str, cache: str, number: int) -> dict[str, float]:
    """One comparison.

    :param what: ``start`` or ``load``.
    :param which: ``demo`` or ``big``.
    :param cache: ``warm`` or ``dropped``.
    """
    model = places.gguf() if which == "demo" else big_model.ensure()
    prepare = (lambda: drop(model)) if cache == "dropped" else (lambda: read_through(model))
    found: dict[str, float] = {}

    def ours() -> None:
        with tempfile.TemporaryDirectory() as home:
            prepare()
            server = Ours(model, home)
            found["ours"] = server.start() if what == "start" else server.load(prepare)

    def theirs() -> None:
        prepare()
        loaded, answered = LlamaServer(model).run()
        found["llama"] = answered if what == "start" else loaded

    for turn in (ours, theirs) if number % 2 else (theirs, ours):
        turn()
    return found | {"extra": found["ours"] - found["llama"], "ratio": found["ours"] / found["llama"]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
