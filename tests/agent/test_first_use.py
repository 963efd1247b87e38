"""The first use of a name over HTTP, with and without `serve --pull`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import fake_hub
import pytest
import small_gguf
from fake_hub import FakeHub

from vllama_agent import testing
from vllama_agent.server import first_use
from vllama_agent.store import Store
from vllama_agent.store.hub import Hub
from vllama_agent.store.sources import Sources
from vllama_agent.testing import until

MIB = 1 << 20
MODEL = small_gguf.make(padding=2 * MIB)
NAMES = ("me/a-GGUF", "me/b-GGUF", "me/c-GGUF")
ROUTES = ("/api/generate", "/api/chat", "/v1/completions", "/v1/chat/completions")


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with fake_hub.running() as running:
        for name in NAMES:
            running.add(name, {"x-Q4_K_M.gguf": MODEL})
        yield running


def world(hub: FakeHub, folder: Path, **more: Any) -> Any:
    sources = Sources(home=folder / "home", hub=lambda: Hub(endpoint=hub.endpoint, cache=folder / "cache"), registry=hub.endpoint)
    return testing.serving(home=folder / "home", store=Store(folder / "home"), sources=sources, **more)


async def ask(http: aiohttp.ClientSession, url: str, route: str = ROUTES[0], model: str = NAMES[0]) -> tuple[int, Any, Any]:
    body = {"model": model, "prompt": "x", "messages": [{"role": "user", "content": "x"}], "stream": False}
    async with http.post(url + route, json=body) as response:
        return response.status, await response.json(), response.headers.get("Retry-After")


@pytest.mark.parametrize("route", ROUTES)
async def test_it_is_a_404_unless_it_is_allowed(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path, route: str) -> None:
    async with world(hub, tmp_path) as served:
        assert (await ask(http, served.url, route))[0] == 404
    async with world(hub, tmp_path, auto_pull=True, managed=True) as served:
        assert (await ask(http, served.url, route))[0] == 404
    assert hub.seen == []


@pytest.mark.parametrize("route", ROUTES)
async def test_a_request_waits_for_its_model(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path, route: str) -> None:
    async with world(hub, tmp_path, auto_pull=True) as served:
        assert (await ask(http, served.url, route))[0] == 200
        assert served.service.pool.find(NAMES[0]).size == len(MODEL)


async def test_requests_for_one_name_wait_for_one_fetch(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate_at = MIB
    async with world(hub, tmp_path, auto_pull=True) as served:
        asked = [asyncio.create_task(ask(http, served.url)) for _ in range(3)]
        await until(lambda: hub.sent["x-Q4_K_M.gguf"] >= MIB)
        hub.gate.set()
        assert [(await one)[0] for one in asked] == [200] * 3
    assert hub.sent["x-Q4_K_M.gguf"] == len(MODEL)
    assert len([seen for seen in hub.seen if "/api/models/" in seen]) == 1


async def test_a_long_fetch_is_told_and_goes_on(
    hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gate_at = MIB
    monkeypatch.setattr(first_use, "WAIT_SECONDS", 0.0)
    async with world(hub, tmp_path, auto_pull=True) as served:
        assert (await ask(http, served.url))[0] == 503
        await until(lambda: hub.sent["x-Q4_K_M.gguf"] >= MIB)
        status, body, retry = await ask(http, served.url)
        assert (status, retry) == (503, str(first_use.RETRY_SECONDS))
        assert f"{NAMES[0]} is being fetched: " in body["error"]
        assert " of 2.1 MB; try again" in body["error"]
        assert (await ask(http, served.url, "/v1/completions"))[0] == 429
        assert (await ask(http, served.url, model=NAMES[1]))[0] == 503
        status, body, _ = await ask(http, served.url, model=NAMES[2])
        assert status == 503
        assert "2 other models are being fetched" in body["error"]
        hub.gate.set()
        await until(lambda: len(served.service.pool.models()) == 2)
        assert (await ask(http, served.url))[0] == 200


async def test_what_cannot_be_fetched_is_told_each_time(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with world(hub, tmp_path, auto_pull=True) as served:
        for _ in range(2):
            status, body, _ = await ask(http, served.url, model="nobody/nothing")
            assert status == 404
            assert "nobody/nothing is not on the hub" in body["error"]
        assert (await ask(http, served.url, model="./x.gguf"))[0] == 400
        assert (await ask(http, served.url, model=""))[0] == 404


async def test_loading_and_unloading_fetch_nothing(hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with world(hub, tmp_path, auto_pull=True) as served:
        for route in ("generate", "chat"):
            async with http.post(f"{served.url}/api/{route}", json={"model": NAMES[0], "keep_alive": 0}) as response:
                assert response.status == 404
    assert hub.seen == []


async def test_a_server_that_leaves_ends_its_fetches(
    hub: FakeHub, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gate_at = MIB
    monkeypatch.setattr(first_use, "WAIT_SECONDS", 0.0)
    async with world(hub, tmp_path, auto_pull=True) as served:
        assert (await ask(http, served.url))[0] == 503
        await until(lambda: hub.sent["x-Q4_K_M.gguf"] >= MIB)
    assert not any(task.get_name().startswith("first use") for task in asyncio.all_tasks())
    assert list((tmp_path / "cache").glob("models--*/.vllama/*/work.*/data")), "what has arrived is kept"
