"""Pulling over the API, by the command, and at the start of a server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import fake_hub
import fake_oci
import ollama
import pytest
import small_gguf
from fake_hub import FakeHub

from vllama_agent import cli, testing
from vllama_agent.fetches import Fetches
from vllama_agent.store import Store, wanted
from vllama_agent.store.hub import Hub
from vllama_agent.store.sources import Sources
from vllama_agent.testing import until
from vllama_core.errors import ModelNotFound

MIB = 1 << 20
MODEL = small_gguf.make(padding=10 * MIB)
SHA256 = hashlib.sha256(MODEL).hexdigest()
NAME = "me/x-GGUF"


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with fake_hub.running() as running:
        running.add(NAME, {"x-Q4_K_M.gguf": MODEL})
        running.gate.set()
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def world(hub: FakeHub, folder: Path) -> dict[str, Any]:
    """Settings of a server that fetches from the fake hub."""
    sources = Sources(home=folder / "home", hub=lambda: Hub(endpoint=hub.endpoint, cache=folder / "cache"), registry=hub.endpoint)
    return {"home": folder / "home", "store": Store(folder / "home"), "sources": sources}


def arrived(folder: Path) -> int:
    """Bytes of partial files."""
    return sum(wanted.completed(work, len(MODEL)) for work in (folder / "cache").glob("models--*/.vllama/*/work.*"))


async def lines(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in response.content]


async def test_a_pull_tells_its_steps_as_ollama_does(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served:
        async with http.post(served.url + "/api/pull", json={"model": NAME}) as response:
            assert response.headers["Content-Type"] == "application/x-ndjson"
            events = await lines(response)
        assert events[0] == {"status": "pulling manifest"}
        assert [event["status"] for event in events[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
        bars = [event for event in events if "digest" in event]
        assert {(event["status"], event["digest"], event["total"]) for event in bars} == {
            (f"pulling {SHA256[:12]}", f"sha256:{SHA256}", len(MODEL))
        }
        completed = [event.get("completed", 0) for event in bars]
        assert completed == sorted(completed)
        assert completed[-1] == len(MODEL)
        assert 0 not in [event["completed"] for event in bars if "completed" in event]
        async with http.post(served.url + "/api/pull", json={"name": NAME}) as response:
            again = await lines(response)
        assert [event for event in again if "digest" in event] == [bars[-1]]
        async with http.post(served.url + "/api/generate", json={"model": NAME, "prompt": "x", "stream": False}) as response:
            assert response.status == 200
    assert hub.sent["x-Q4_K_M.gguf"] == len(MODEL)


async def test_without_a_stream_there_is_one_answer(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served:
        async with http.post(served.url + "/api/pull", json={"model": NAME, "stream": False}) as response:
            assert (response.status, await response.json()) == (200, {"status": "success"})
        async with http.post(served.url + "/api/pull", json={"model": "nobody/nothing", "stream": False}) as response:
            assert response.status == 404
            assert "nobody/nothing" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "./file.gguf"}, 400, "invalid model name"),
        ({"model": "a b"}, 400, "is no model"),
        ({"model": "me/x:medium", "stream": False}, 400, "neither a quantization"),
        ({"model": NAME, "insecure": "yes"}, 400, "insecure must be a boolean"),
        ({}, 400, "model is required"),
    ],
)
async def test_wrong_requests_are_refused(
    hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path, body: dict[str, Any], status: int, words: str
) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served, http.post(served.url + "/api/pull", json=body) as response:
        assert response.status == status
        assert words in (await response.json())["error"]


async def test_an_error_after_the_first_line_is_a_line(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with (
        testing.serving(**world(hub, tmp_path)) as served,
        http.post(served.url + "/api/pull", json={"model": "nobody/nothing"}) as response,
    ):
        assert response.status == 200
        events = await lines(response)
    assert events[0] == {"status": "pulling manifest"}
    assert "nobody/nothing is not on the hub" in events[1]["error"]


async def test_a_model_of_an_oci_registry_is_asked_for_by_the_same_reference(
    hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with fake_oci.running() as registry, testing.serving(**world(hub, tmp_path)) as served:
        registry.add("org/team/m:1", registry.layer("application/vnd.docker.ai.gguf.v3", MODEL))
        ref = f"oci://{registry.host}/org/team/m:1"
        async with http.post(served.url + "/api/pull", json={"model": ref, "insecure": True}) as response:
            assert (await lines(response))[-1] == {"status": "success"}
        for asked in (ref, f"{registry.host}/org..team/m:1"):
            async with http.post(served.url + "/api/generate", json={"model": asked, "prompt": "hi", "stream": False}) as response:
                assert response.status == 200
        async with http.post(served.url + "/api/copy", json={"source": ref, "destination": "short"}) as response:
            assert response.status == 200


async def test_no_client_can_ask_for_pickles(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.add("me/old", {"config.json": b"{}", "pytorch_model.bin": bytes(2000)})
    async with testing.serving(**world(hub, tmp_path)) as served:
        asked = {"model": "me/old", "allow_pickle": True, "allow-pickle": True, "stream": False}
        async with http.post(served.url + "/api/pull", json=asked) as response:
            assert "vllama pull --allow-pickle" in (await response.json())["error"]
    assert hub.sent["pytorch_model.bin"] == 0


async def test_the_command_allows_pickles_on_its_own_machine(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets as far as the converter, which is not installed here; the server, which has no sources, is not asked."""
    hub.add("me/old", {"config.json": b"{}", "pytorch_model.bin": bytes(2000)})
    async with testing.serving() as served:
        for name, value in {"VLLAMA_HOST": served.url, "VLLAMA_HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        client = Hub(endpoint=hub.endpoint, cache=tmp_path / "cache")
        monkeypatch.setattr(Hub, "from_environment", lambda **_: client)
        assert await asyncio.to_thread(cli.main, ["pull", "--allow-pickle", "me/old"]) != 0
    assert "vllama engines install convert" in capsys.readouterr().err


async def test_ollamas_python_client_pulls(hub: FakeHub, tmp_path: Path) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served, ollama.AsyncClient(host=served.url) as client:
        statuses = [part.status async for part in await client.pull(NAME, stream=True)]
        assert statuses[-1] == "success"
        assert [model.model for model in (await client.list()).models] == [f"{NAME}:latest"]
        with pytest.raises(ollama.ResponseError, match="not on the hub"):
            await client.pull("nobody/nothing")


async def test_two_pulls_of_one_model_share_one_download(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate.clear()
    hub.gate_at = 4 * MIB
    async with testing.serving(**world(hub, tmp_path)) as served:

        async def pull() -> list[dict[str, Any]]:
            async with http.post(served.url + "/api/pull", json={"model": NAME}) as response:
                return await lines(response)

        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(pull()) for _ in range(2)]
            await until(lambda: hub.sent["x-Q4_K_M.gguf"] >= 4 * MIB)
            await until(lambda: len(hub.ranges) == 2)  # two segments of one download
            hub.gate.set()
    assert all(pulled.result()[-1] == {"status": "success"} for pulled in both)
    assert hub.sent["x-Q4_K_M.gguf"] == len(MODEL)


async def test_a_client_that_leaves_ends_its_pull_and_the_next_goes_on(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate.clear()
    hub.gate_at = 4 * MIB
    async with testing.serving(**world(hub, tmp_path)) as served:
        response = await http.post(served.url + "/api/pull", json={"model": NAME})
        await until(lambda: arrived(tmp_path) >= 3 * MIB)
        response.close()
        await until(lambda: not any(task.get_name().startswith("fetch ") for task in asyncio.all_tasks()))
        await until(lambda: hub.sending == 0)
        before = hub.sent["x-Q4_K_M.gguf"]
        hub.gate.set()
        async with http.post(served.url + "/api/pull", json={"model": NAME}) as second:
            events = await lines(second)
    assert events[-1] == {"status": "success"}
    assert next(event["completed"] for event in events if "completed" in event) >= 3 * MIB
    assert hub.sent["x-Q4_K_M.gguf"] - before < len(MODEL) - 3 * MIB


async def test_pulling_a_loaded_model_anew_unloads_the_older_one(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served:
        pulled, asked = {"model": NAME, "stream": False}, {"model": NAME, "prompt": "x", "stream": False}
        await (await http.post(served.url + "/api/pull", json=pulled)).read()
        await (await http.post(served.url + "/api/generate", json=asked)).read()
        hub.add(NAME, {"x-Q4_K_M.gguf": (newer := small_gguf.make(padding=5000))})
        await (await http.post(served.url + "/api/pull", json=pulled)).read()
        assert served.service.pool.residents() == []
        await (await http.post(served.url + "/api/generate", json=asked)).read()
        assert [resident.artifact.size for resident in served.service.pool.residents()] == [len(newer)]


async def test_a_managed_agent_pulls_nothing_and_says_that_its_model_is_here(
    hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with testing.serving(managed=True) as served:
        async with http.post(served.url + "/api/pull", json={"model": "m"}) as response:
            events = await lines(response)
        assert events[0] == {"status": "pulling manifest"}
        assert events[1]["completed"] == events[1]["total"]
        assert events[-1] == {"status": "success"}
        async with http.post(served.url + "/api/pull", json={"model": NAME}) as response:
            assert response.status == 403
    assert hub.seen == []


# --- at the start -----------------------------------------------------------------------------------------------------------------


async def test_serving_a_name_fetches_it_while_probes_answer(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate.clear()
    hub.gate_at = 4 * MIB
    async with testing.serving(**world(hub, tmp_path), models=(NAME,)) as served:
        await until(lambda: "B of 10 MB" in (served.service.unready() or ""))
        async with http.get(served.url + "/startupz") as response:
            assert response.status == 503
            assert f"{NAME}:latest is being fetched: " in await response.text()
        async with http.get(served.url + "/livez") as response:
            assert response.status == 200
        hub.gate.set()
        await until(lambda: served.service.unready() is None)
        assert [resident.artifact.name for resident in served.service.pool.residents()] == [f"{NAME}:latest"]


async def test_a_server_that_still_looks_for_its_model_is_not_ready() -> None:
    looking, answer = asyncio.Event(), asyncio.Event()

    async def find(*_: object) -> Any:
        looking.set()
        await answer.wait()
        raise ModelNotFound("m")

    fetches = Fetches(find)
    address = "https://host/m.gguf"
    finding = asyncio.create_task(fetches.find(f"{address}?Signature=secret", ModelNotFound("m")))
    await looking.wait()
    assert fetches.waiting == f"{address} is being looked for", "probes answer everybody"
    answer.set()
    with pytest.raises(ModelNotFound):
        await finding
    assert fetches.waiting is None


async def test_a_name_that_leads_nowhere_ends_the_start(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nobody/nothing"):
        async with testing.serving(**world(hub, tmp_path), models=("nobody/nothing",)):
            pass


async def test_a_fetch_that_fails_is_tried_again(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("FIRST_RETRY", "LAST_RETRY"):
        monkeypatch.setattr(f"vllama_agent.fetches.{pause}", 0.01)
    hub.wrong.add("x-Q4_K_M.gguf")
    async with testing.serving(**world(hub, tmp_path), models=(NAME,)) as served:
        await until(lambda: "could not be fetched" in (served.service.unready() or ""))
        hub.wrong.clear()
        await until(lambda: served.service.unready() is None)


# --- the command ------------------------------------------------------------------------------------------------------------------


async def test_the_command_pulls_through_the_server_and_is_quiet_in_a_pipe(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with testing.serving(**world(hub, tmp_path)) as served:
        monkeypatch.setenv("VLLAMA_HOST", served.url)
        assert await asyncio.to_thread(cli.main, ["pull", NAME]) == 0
        captured = capsys.readouterr()
        steps = ["pulling manifest", f"pulling {SHA256[:12]}", "verifying sha256 digest", "writing manifest", "success"]
        assert (captured.out, captured.err.splitlines()) == ("", steps)
        assert await asyncio.to_thread(cli.main, ["pull", "nobody/nothing"]) == 1
        assert "nobody/nothing" in capsys.readouterr().err


async def test_a_job_gets_lines_of_json_and_fetches_nothing_twice(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it ask the server that the image's VLLAMA_HOST names."""
    monkeypatch.setenv("VLLAMA_HOST", "0.0.0.0")
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    pull = ["pull", "--if-missing", "--progress", "json", NAME]
    assert await asyncio.to_thread(cli.main, pull) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"message": "pulling manifest"} in lines
    last = [line["progress"] for line in lines if "progress" in line][-1]
    assert last["completedBytes"] == last["totalBytes"] == len(MODEL)
    hub.seen.clear()
    assert await asyncio.to_thread(cli.main, pull) == 0
    assert json.loads(capsys.readouterr().out) == {"message": f"{NAME} is here already"}
    assert hub.seen == []
    assert await asyncio.to_thread(cli.main, [*pull[:-1], "nobody/nothing"]) == 1
    [*_, line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["failure"]["reason"] == "ModelNotFound"


async def test_run_pulls_what_the_server_has_not(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    async with testing.serving(**world(hub, tmp_path)) as served:
        monkeypatch.setenv("VLLAMA_HOST", served.url)
        assert await asyncio.to_thread(cli.main, ["run", NAME, "hello"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "The quick brown fox jumps over the lazy dog.\n"
    assert "success" in captured.err


def command(hub: FakeHub, folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """`vllama pull` in a process of its own; with --verify it does not ask for a server."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VLLAMA_HOST", "OLLAMA_HOST", "HF_TOKEN")}
    more = {
        "VLLAMA_HOME": str(folder / "home"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return [sys.executable, "-m", "vllama_agent", "pull", "--verify", *words], environment | more


async def test_the_command_pulls_without_a_server(hub: FakeHub, tmp_path: Path) -> None:
    words, environment = command(hub, tmp_path, NAME)
    done = await asyncio.to_thread(subprocess.run, words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "success"
    assert Store(tmp_path / "home").find(NAME).files[0].read_bytes() == MODEL


async def test_on_a_terminal_there_is_a_bar_with_size_and_rate(hub: FakeHub, tmp_path: Path) -> None:
    words, environment = command(hub, tmp_path, NAME)
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(*words, env=environment | {"TERM": "xterm", "COLUMNS": "120"}, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while data := await asyncio.to_thread(os.read, master, 1 << 16):
            shown += data
    except OSError:  # how Linux tells that the other end is closed
        pass
    finally:
        os.close(master)
    assert await process.wait() == 0
    assert f"pulling {SHA256[:12]}".encode() in shown
    assert b"10.5/10.5 MB" in shown


async def test_interrupting_the_command_keeps_what_has_arrived(hub: FakeHub, tmp_path: Path) -> None:
    hub.gate.clear()
    hub.gate_at = 4 * MIB
    words, environment = command(hub, tmp_path, NAME)
    process = await asyncio.create_subprocess_exec(
        *words,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        # a test run in the background of a script ignores SIGINT, and would hand that down
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    await until(lambda: arrived(tmp_path) >= 3 * MIB, seconds=30)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == cli.INTERRUPTED
    assert arrived(tmp_path) >= 3 * MIB
    assert list((tmp_path / "cache").glob("models--*/.vllama/*/owner")) == []
