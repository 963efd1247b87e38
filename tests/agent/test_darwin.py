"""What a Mac would do, as far as it can be seen on Linux; `pytest --platform=darwin` runs all tests of the agent that way."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vllama_agent.engines.process import KEEPER
from vllama_agent.store import journal

ROOT = Path(__file__).resolve().parents[2]
DARWIN = ROOT / "tests" / "support" / "darwin"
sys.path.insert(0, str(ROOT / "tools"))

import llama_wheel  # noqa: E402 - it lies in tools/

# Its folder stays off this process's path, which some tests hand to children: they would take the `sitecustomize` there.
LINUX_ONLY = runpy.run_path(str(DARWIN / "fake_darwin.py"))["LINUX_ONLY"]

AS_DARWIN = f"""
import runpy, sys
sys.path.insert(0, {str(DARWIN)!r})
import fake_darwin
fake_darwin.apply()
runpy.run_path({str(KEEPER)!r}, run_name="__main__")
"""


class Kept:
    """A shell and its background job under a keeper that believes to be on a Mac.

    :ivar pids: of the shell and of the job.
    """

    def __init__(self, script: str) -> None:
        read_end, self._pipe = os.pipe()
        command = [sys.executable, "-c", AS_DARWIN, str(read_end), "", "10", "--", "sh", "-c", script]
        self.keeper = subprocess.Popen(command, pass_fds=(read_end,), stdout=subprocess.PIPE, text=True)
        os.close(read_end)
        assert self.keeper.stdout is not None
        self.pids = [int(word) for word in self.keeper.stdout.readline().split()]

    def let_go(self) -> None:
        """What the kernel does when the agent dies."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def end(self) -> None:
        self.let_go()
        self.keeper.wait(10)
        assert self.keeper.stdout is not None
        self.keeper.stdout.close()


@pytest.fixture
def kept() -> Iterator[type[Kept]]:
    made: list[Kept] = []

    class Remembered(Kept):
        def __init__(self, script: str) -> None:
            super().__init__(script)
            made.append(self)

    yield Remembered
    for one in made:
        one.end()


def test_the_end_of_the_pipe_ends_child_and_grandchild_without_pdeathsig(kept: type[Kept]) -> None:
    one = kept("sleep 600 & echo $$ $!; wait")
    processes = [psutil.Process(pid) for pid in one.pids]
    assert [process.is_running() for process in processes] == [True, True]
    one.let_go()
    assert one.keeper.wait(10) == 128 + 9
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_child_that_ends_takes_its_leftovers_along_and_its_status_is_told(kept: type[Kept]) -> None:
    one = kept("sleep 600 & echo $!; exit 7")
    assert one.keeper.wait(10) == 7
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in one.pids if psutil.pid_exists(pid)], timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_apple_silicon_gets_metal_with_its_shaders_inside() -> None:
    native = llama_wheel.flags_for("native", system="darwin", machine="arm64")
    assert native == "-DGGML_NATIVE=ON -DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON"
    assert llama_wheel.flags_for("portable", system="darwin", machine="arm64").startswith("-DGGML_NATIVE=OFF -DGGML_METAL=ON")
    assert "-DGGML_METAL=OFF" in llama_wheel.flags_for("native", system="darwin", machine="x86_64")


def test_a_boot_has_a_name_on_a_mac_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a cancelled download would begin anew."""
    monkeypatch.setattr(journal, "BOOT_ID", Path("/nonexistent"))
    monkeypatch.setenv("PATH", str(DARWIN / "bin"), prepend=os.pathsep)
    assert journal.boot_id.__wrapped__() == "6D1B7A5E-0F6C-4C39-9E55-2C0F6B8E7A11"
    monkeypatch.setenv("PATH", "")
    assert journal.boot_id.__wrapped__() == ""


def sources() -> list[Path]:
    return [path for package in ("core/vllama_core", "agent/vllama_agent") for path in (ROOT / package).rglob("*.py")]


def test_what_linux_alone_has_is_used_only_where_the_platform_is_asked() -> None:
    names = {name for group in LINUX_ONLY.values() for name in group}
    unguarded = []
    for path in sources():
        text = path.read_text()
        used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)} & names
        if used and "sys.platform" not in text and "hasattr(os" not in text:
            unguarded.append((path.name, used))
    assert unguarded == []


def test_no_socket_has_a_path_on_a_mac() -> None:
    """Darwin's paths of sockets end after 104 bytes. llama.cpp is spoken to over socket pairs, which have none, MLX over a port. vLLM's has
    one, in a folder of its own below the system's for temporary files; it runs on Linux alone."""
    calls = {"create_unix_server", "start_unix_server", "open_unix_connection", "UnixSite", "UnixConnector"}
    found = [(path.name, name) for path in sources() for name in calls if f"{name}(" in path.read_text()]
    assert found == [("openai_upstream.py", "UnixConnector")]
