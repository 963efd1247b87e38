"""Contestants: real server processes, started for one measurement and stopped after it, so that each finds the memory free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from bench import client, peers, places, prompts
from vllama_agent.engines.llama_cpp.spares import SPIN_COUNT

READY_SECONDS = 180.0
STOP_SECONDS = 20.0
SPIN = {"GOMP_SPINCOUNT": SPIN_COUNT}
"""Our worker's setting goes to llama-server and the ceiling too: it does them no harm here, and some good while HTTP takes its share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A server and its settings.

    :ivar key: by which results name it.
    :ivar kind: ours, llama-server or ollama.
    :ivar slots: requests it is set to run at once; 0 = its own default.
    :ivar arguments: further command-line arguments, `{context}` standing for slots x the tokens that a slot needs.
    :ivar environment: further environment variables.
    """

    key: str
    kind: str
    slots: int = 0
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def command_line(self, context: int) -> tuple[str, ...]:
        """What it is started with when every slot needs `context` tokens."""
        return tuple(part.format(context=max(1, self.slots) * context) for part in self.arguments)


OURS = Contestant(key="ours", kind="ours")
LLAMA_DEFAULT = Contestant(key="llama-server", kind="llama-server")
LLAMA_NP1 = Contestant(key="llama-server -np 1", kind="llama-server", slots=1, arguments=("-np", "1", "-c", "{context}"))
LLAMA_NP4 = Contestant(key="llama-server -np 4", kind="llama-server", slots=4, arguments=("-np", "4", "-c", "{context}"))
LLAMA_KVU = Contestant(key="llama-server -np 16 -kvu", kind="llama-server", slots=16, arguments=("-np", "16", "-kvu", "-c", "{context}"))
LLAMA_SPLIT = Contestant(
    key="llama-server -np 16 -no-kvu", kind="llama-server", slots=16, arguments=("-np", "16", "-no-kvu", "-c", "{context}")
)
GRID = (LLAMA_DEFAULT, LLAMA_NP1, LLAMA_NP4, LLAMA_KVU, LLAMA_SPLIT)
OLLAMA = Contestant(key="ollama", kind="ollama")
OLLAMA_16 = Contestant(key="ollama OLLAMA_NUM_PARALLEL=16", kind="ollama", slots=16, environment={"OLLAMA_NUM_PARALLEL": "16"})


def llama_batch(rows: int) -> Contestant:
    """llama-server with 16 slots that takes at most `rows` rows into one step."""
    return Contestant(
        key=f"llama-server -np 16 -kvu -b {rows}",
        kind="llama-server",
        slots=16,
        arguments=("-np", "16", "-kvu", "-c", "{context}", "-b", str(rows)),
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A started contestant."""

    contestant: Contestant
    client: client.Client
    process: subprocess.Popen[bytes]
    command: str
    """As a person would type it, for the results."""

    def processes(self) -> list[psutil.Process]:
        """The server's process and all below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def version(contestant: Contestant) -> str:
    """What the report calls it.

    :raises peers.PeerMissing: it cannot be had here.
    """
    match contestant.kind:
        case "llama-server":
            return peers.llama_server().version
        case "ollama":
            return peers.ollama().version
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=places.ROOT, capture_output=True, text=True, check=False)
    return f"vllama {commit.stdout.strip()}"


@contextlib.asynccontextmanager
async def running(contestant: Contestant, *, context: int, vocabulary: prompts.Vocabulary) -> AsyncIterator[Running]:
    """Start a contestant whose requests need `context` tokens each, wait until it has answered once, and stop it in the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command, environment = _command(contestant, port, context)
    log_path = places.PEERS / "logs" / f"{contestant.key.replace(' ', '_')}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True)  # noqa: ASYNC220
    try:
        async with client.session() as session:
            api = _api(contestant, context, vocabulary)
            await _until_ready(session, url, contestant, process, log_path)
            if contestant.kind == "ollama":
                await asyncio.to_thread(_create_in_ollama, url, log_path)
            server = Running(contestant, client.Client(url, api, session), process, _typed(command, environment))
            await server.client.answer(prompts.make(vocabulary, 32, seed=-1), 8, client.GREEDY)  # loads, warms up
            yield server
    finally:
        stop(process)


def _command(contestant: Contestant, port: int, context: int) -> tuple[list[str], dict[str, str]]:
    extra = contestant.command_line(context)
    match contestant.kind:
        case "ours":
            # The console script of the interpreter that runs this. A home of its own keeps the person's models out of it.
            home = places.CACHE / "bench-home"
            script = str(Path(sys.executable).with_name("vllama"))
            return [script, "serve", "--model", places.our_model_reference(), "--port", str(port), *extra], {"VLLAMA_HOME": str(home)}
        case "llama-server":
            peer = peers.llama_server()
            words = [str(peer.binary), "-m", str(places.gguf()), "--host", "127.0.0.1", "--port", str(port), *extra]
            return words, peers.library_path(peer) | SPIN
        case "ollama":
            environment = {
                "OLLAMA_HOST": f"127.0.0.1:{port}",
                "OLLAMA_MODELS": str(places.PEERS / "ollama-models"),
                "OLLAMA_CONTEXT_LENGTH": str(context),
                "OLLAMA_KEEP_ALIVE": "-1",
                "OLLAMA_NO_CLOUD": "1",
            }
            return [str(peers.ollama().binary), "serve"], environment | dict(contestant.environment)
    raise AssertionError(contestant.kind)


def _typed(command: list[str], environment: dict[str, str]) -> str:
    shown = [
        f"{name}={value}"
        for name, value in environment.items()
        if name.startswith(("OLLAMA_", "GOMP_")) and name not in ("OLLAMA_HOST", "OLLAMA_MODELS")
    ]
    return " ".join([*shown, Path(command[0]).name, *command[1:]])


def _api(contestant: Contestant, context: int, vocabulary: prompts.Vocabulary) -> client.Api:
    match contestant.kind:
        case "llama-server":
            return client.llama_server_api()
        case "ollama":
            return client.ollama_api(places.MODEL_NAME, num_ctx=context)
    return client.ollama_api(places.our_model_reference(), never_end=tuple(vocabulary.end_tokens()))


def modelfile(model: Path) -> str:
    """Makes Ollama run the bare model: no template, nothing put before the prompt."""
    return f'FROM {model}\nTEMPLATE """{{{{ .Prompt }}}}"""\n'


def _create_in_ollama(url: str, log_path: Path) -> None:
    """Ollama copies the file into its own store, once per file."""
    recipe = places.PEERS / "Modelfile"
    recipe.write_text(modelfile(places.gguf()))
    with open(log_path, "ab") as log:
        subprocess.run(
            [str(peers.ollama().binary), "create", places.MODEL_NAME, "-f", str(recipe)],
            env=os.environ | {"OLLAMA_HOST": url},
            stdout=log,
            stderr=log,
            check=True,
        )


async def _until_ready(
    session: aiohttp.ClientSession, url: str, contestant: Contestant, process: subprocess.Popen[bytes], log_path: Path
) -> None:
    path = {"ours": "/readyz", "llama-server": "/health", "ollama": "/api/version"}[contestant.kind]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise peers.PeerMissing(f"{contestant.key} ended with {process.returncode} while starting; see {log_path}")
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url + path) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise peers.PeerMissing(f"{contestant.key} was not ready after {READY_SECONDS:.0f} s; see {log_path}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then kill its whole process group: Ollama's runner is a child of its own."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=STOP_SECONDS)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
