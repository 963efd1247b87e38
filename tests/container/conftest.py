"""The image, built here and run by an OCI runtime the way a cluster runs it: a root that nobody can write to, and no root user."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import image_builds
import pytest

import tiny_gguf

START_SECONDS, STOP_SECONDS = 60.0, 20.0


@dataclass
class Run:
    """A container on the host's network."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    def until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it answers.

        :raises AssertionError: it ended, or took too long; its output is shown.
        """
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        return
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def ended(self) -> int:
        """Its exit status.

        :raises subprocess.TimeoutExpired: it goes on.
        """
        return self.process.wait(START_SECONDS)

    def stop(self) -> int:
        """What `docker stop` does first; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@dataclass(frozen=True)
class Image:
    """A built image: its files, and what it says about how to be run."""

    files: Path
    config: dict[str, Any]


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The agent's, built from this checkout, with IMAGE_FLAGS."""
    with _built("agent-cpu") as built:
        yield built


@pytest.fixture(scope="session")
def operator_image() -> Iterator[Image]:
    """The operator's."""
    with _built("operator") as built:
        yield built


@pytest.fixture(scope="session")
def cuda_image(cuda_build: str) -> Iterator[Image]:
    """That of vLLM, on a base that stands in for vLLM's own."""
    with _mounted(cuda_build) as built:
        yield built


@contextlib.contextmanager
def _built(target: str) -> Iterator[Image]:
    if reason := image_builds.lacking("runc"):
        pytest.skip(reason)
    try:
        name = image_builds.build(target)
    except SystemExit as failure:
        pytest.fail(str(failure))
    with _mounted(name) as built:
        yield built


@contextlib.contextmanager
def _mounted(name: str) -> Iterator[Image]:
    container = _output("buildah", "from", name)
    try:
        config = json.loads(_output("buildah", "inspect", "--type", "image", name))["Docker"]["config"]
        yield Image(Path(_output("buildah", "mount", container)), config)
    finally:
        _output("buildah", "rm", container)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def bundle(
    image: Image, *, command: tuple[str, ...], environment: Mapping[str, str], mounts: Mapping[Path, str], scratch: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The OCI runtime's configuration: what the image says, with nothing writable but a volume on /models, and `scratch` in memory.

    https://github.com/opencontainers/runtime-spec/blob/main/config.md
    """
    uid, gid = (int(number) for number in image.config["User"].split(":"))
    binds = [
        {"source": str(source), "destination": where, "type": "bind", "options": ["rbind", "rw" if where == "/models" else "ro"]}
        for source, where in mounts.items()
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(image.files), "readonly": True},
        "process": {
            "user": {"uid": uid, "gid": gid},
            "args": list(command),
            "env": [*image.config["Env"], *(f"{name}={value}" for name, value in environment.items())],
            "cwd": image.config.get("WorkingDir") or "/",
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=1m"]},
            *({"destination": where, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777"]} for where in scratch),
            *binds,
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    }


Start = Callable[..., Run]


@pytest.fixture
def start(image: Image, tmp_path: Path) -> Iterator[Start]:
    """Run containers of the agent, which serve a tiny model; all of them end with the test."""
    model = tiny_gguf.ensure("llama")
    with _containers(image, tmp_path) as begin:

        def serve(*words: str, mounts: Mapping[Path, str] | None = None, **options: Any) -> Run:
            port = _free_port()
            given = {model.parent: "/given", **(mounts or {})}
            return begin(*(words or ("serve", "--port", str(port), "--model", f"/given/{model.name}")), port=port, mounts=given, **options)

        yield serve


@pytest.fixture
def start_operator(operator_image: Image, tmp_path: Path) -> Iterator[Start]:
    """Run containers of the operator; all of them end with the test."""
    with _containers(operator_image, tmp_path) as begin:
        yield begin


@pytest.fixture
def start_cuda(cuda_image: Image, tmp_path: Path) -> Iterator[Start]:
    """Run containers of vLLM's image, with the packages of vLLM for CPUs where its own image has vLLM's, and a tiny model."""
    packages, model = image_builds.vllm_packages(), image_builds.tiny_model(tmp_path / "model")
    with _containers(cuda_image, tmp_path) as begin:

        def serve(*words: str, environment: Mapping[str, str]) -> Run:
            port = _free_port()
            # /sys as docker has it: vLLM on a CPU asks lscpu for its cores
            mounts = {packages: image_builds.VLLM_PACKAGES, model: "/given", Path("/sys"): "/sys"}
            serving = ("serve", "--port", str(port), "--model", "/given", *words)
            # as docker's --tmpfs /tmp --shm-size: vLLM's processes share memory, and the agent's socket to them lies in /tmp
            return begin(*serving, environment=environment, mounts=mounts, port=port, scratch=("/tmp", "/dev/shm"))

        yield serve


@contextlib.contextmanager
def _containers(image: Image, folder: Path) -> Iterator[Start]:
    runtime = ["runc", "--root", str(folder / "state")]
    runs: list[tuple[str, Run]] = []

    def begin(
        *words: str,
        entry: tuple[str, ...] = tuple(image.config["Entrypoint"]),
        environment: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        port: int = 0,
        scratch: tuple[str, ...] = (),
    ) -> Run:
        own = folder / f"bundle-{len(runs)}"
        volume = own / "models"
        volume.mkdir(parents=True)
        os.chown(volume, *(int(number) for number in image.config["User"].split(":")))
        given = {volume: "/models", **(mounts or {})} if (image.files / "models").is_dir() else (mounts or {})
        made = bundle(image, command=(*entry, *words), environment=environment or {}, mounts=given, scratch=scratch)
        (own / "config.json").write_text(json.dumps(made))
        name = f"vllama-{uuid.uuid4().hex[:12]}"
        log = own / "log"
        with open(log, "wb") as output:
            arguments = [*runtime, "run", "--bundle", str(own), name]
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        runs.append((name, Run(process, port, log)))
        return runs[-1][1]

    yield begin
    for name, run in runs:
        subprocess.run([*runtime, "delete", "--force", name], capture_output=True, check=False, timeout=30)
        run.process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
