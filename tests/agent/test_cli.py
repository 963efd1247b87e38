"""The light commands against the real server, and how fast and how plainly they answer."""

import asyncio
import dataclasses
import json
import os
import pty
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from vllama_agent import cli, testing
from vllama_agent.commands import client, ps
from vllama_core import durations

HEAVY = ("aiohttp", "jinja2", "numpy", "asyncio", "uvloop", "rich", "prompt_toolkit", "orjson")


async def vllama(monkeypatch: pytest.MonkeyPatch, url: str, *words: str) -> int:
    """Run the command beside the server."""
    monkeypatch.setenv("VLLAMA_HOST", url)
    return await asyncio.to_thread(cli.main, words)


async def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving(store=testing.FakeStore("m:latest", "other:1b")) as served:
        assert await vllama(monkeypatch, served.url, "list") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["NAME", "ID", "SIZE", "MODIFIED"]
        assert [line.split()[0] for line in lines[1:]] == ["m:latest", "other:1b"]
        assert len(lines[1].split()[1]) == 12
        assert "241 MB" in lines[1]
        assert await vllama(monkeypatch, served.url, "ls", "--json") == 0
        assert "m:latest" in json.dumps(json.loads(capsys.readouterr().out))


async def test_ps_and_stop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving() as served:
        assert await vllama(monkeypatch, served.url, "ps") == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        async with served.service.pool.use(served.service.pool.find("m")):
            assert await vllama(monkeypatch, served.url, "ps") == 0
        row = capsys.readouterr().out.splitlines()[1]
        assert row.startswith("m:latest")
        for words in ("300 MB", "100% CPU", "4096", "minutes from now"):
            assert words in row
        assert await vllama(monkeypatch, served.url, "stop", "m") == 0
        assert served.service.pool.residents() == []
        assert await vllama(monkeypatch, served.url, "stop", "nobody") == 1
        assert "nobody" in capsys.readouterr().err


async def test_ps_says_how_far_a_load_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gate = asyncio.Event()
    async with testing.serving(testing.FakeEngine(load_gate=gate, progress="loading weights, 2 of 4 files")) as served:
        use = served.service.pool.use(served.service.pool.find("m"))
        loading = asyncio.create_task(use.__aenter__())
        await testing.until(lambda: bool(served.service.pool.loading()))
        assert await vllama(monkeypatch, served.url, "ps") == 0
        assert capsys.readouterr().out.splitlines()[1:] == ["m:latest is loading: loading weights, 2 of 4 files"]
        gate.set()
        await loading
        await use.__aexit__(None, None, None)


async def test_ps_and_readyz_say_what_runs_on_the_cpu_unasked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "runs on the CPU although NVIDIA A10 is here"
    engine = testing.FakeEngine(facts=dataclasses.replace(testing.FACTS, misplaced=sentence))
    async with testing.serving(engine) as served:
        assert served.service.unready() is None
        async with served.service.pool.use(served.service.pool.find("m")):
            assert await vllama(monkeypatch, served.url, "ps") == 0
            assert served.service.unready() == f"m:latest {sentence}"
        assert capsys.readouterr().out.splitlines()[2:] == [f"m:latest {sentence}"]
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{served.url}/readyz")
        assert (answer.status_code, answer.text) == (503, f"m:latest {sentence}")


async def test_show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving() as served:
        assert await vllama(monkeypatch, served.url, "show", "m", "-v") == 0
        shown = capsys.readouterr().out
        for words in ("architecture", "gemma3", "32768", "Q4_K_M", "completion", "token_embd.weight"):
            assert words in shown
        assert await vllama(monkeypatch, served.url, "show", "m", "--modelfile") == 0
        assert "FROM /models/" in capsys.readouterr().out
        assert await vllama(monkeypatch, served.url, "show", "m", "--json") == 0
        assert json.loads(capsys.readouterr().out)["details"]["family"] == "gemma3"


async def test_a_key_is_sent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-many-letters\n")
    monkeypatch.delenv("VLLAMA_API_KEY", raising=False)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    async with testing.serving(api_key_file=keys) as served:
        assert await vllama(monkeypatch, served.url, "list") == 1
        assert "VLLAMA_API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("OLLAMA_API_KEY", "a-key-of-many-letters")
        assert await vllama(monkeypatch, served.url, "list") == 0


@pytest.mark.parametrize("words", [("list",), ("ps",), ("show", "m"), ("stop", "m")])
async def test_no_server_is_one_sentence_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert await vllama(monkeypatch, "http://127.0.0.1:1", *words) == 1
    error = capsys.readouterr().err
    assert "vllama serve" in error
    assert error.count("\n") == 1


def test_a_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("VLLAMA_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        assert cli.main(["list"]) == 1
    assert "(timed out)" in capsys.readouterr().err


def test_a_wrong_setting_ends_with_its_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "x"]) == 2
    error = capsys.readouterr().err
    assert "--port is 'x'" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("VLLAMA_HOST", "not an address")
    assert cli.main(["list"]) == 2
    assert "VLLAMA_HOST is 'not an address'" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("serve", "run", "list", "ps", "show", "stop", "version"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("verb", ["--help", "doctor", "version"])
def test_a_full_disk_under_the_output_is_one_sentence(verb: str) -> None:
    with open("/dev/full", "w") as full:
        found = subprocess.run([sys.executable, "-m", "vllama_agent", verb], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (1, "vllama: standard output: No space left on device\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w") as unread:
        found = subprocess.run([sys.executable, "-m", "vllama_agent", "--help"], stdout=unread, stderr=subprocess.PIPE, timeout=60)
    assert (found.returncode, found.stderr) == (1, b"")


@pytest.mark.parametrize("module", ["cli", "commands.list", "commands.ps", "commands.run"])
def test_light_commands_import_nothing_heavy(module: str) -> None:
    code = f"import sys, vllama_agent.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


TABLE = """
import sys
from vllama_agent.commands import output
output.table(("NAME", "SIZE"), [("m:latest", "1 GB"), ("\\x1b[2Jlonger:8b", "2 GB")])
print("heavy:", *sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def test_a_table_on_a_terminal_is_plain_and_imports_nothing_heavy() -> None:
    """Rows as a pipe gets them, and a model's name does not steer the terminal."""
    master, slave = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", TABLE, *HEAVY], stdout=slave, check=True, timeout=60)
        shown = b""
        while b"heavy:" not in shown or not shown.endswith(b"\n"):
            shown += os.read(master, 1 << 16)
    finally:
        os.close(slave)
        os.close(master)
    rows = [line.split() for line in shown.decode().splitlines()]
    assert rows == [["NAME", "SIZE"], ["m:latest", "1", "GB"], ["[2Jlonger:8b", "2", "GB"], ["heavy:"]]


@pytest.mark.parametrize(("size", "vram", "text"), [(10, 0, "100% CPU"), (10, 10, "100% GPU"), (10, 4, "60%/40% CPU/GPU")])
def test_processor(size: int, vram: int, text: str) -> None:
    assert ps.processor(size, vram) == text


@pytest.mark.parametrize(("ahead", "text"), [(timedelta(days=365 * 290), "Forever"), (timedelta(seconds=-5), "Stopping...")])
def test_until(ahead: timedelta, text: str) -> None:
    model = {"name": "m", "digest": "0" * 64, "size": 1, "size_vram": 0, "context_length": 1}
    assert ps.row(model | {"expires_at": (datetime.now(UTC) + ahead).isoformat()})[-1] == text


@pytest.mark.parametrize(("text", "seconds"), [("300", 300.0), ("-1", -1.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0)])
def test_durations_of_settings(text: str, seconds: float) -> None:
    assert durations.parse_seconds(text) == seconds
