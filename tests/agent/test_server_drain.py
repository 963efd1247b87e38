"""A whole agent in a process of its own, and the signals that end it."""

import asyncio
import json
import signal
import sys

import aiohttp
import pytest

from vllama_agent.testing import until

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PROGRAM = """
import sys, uvloop
from vllama_agent import logs
from vllama_agent.server import serve
from vllama_agent.testing import FakeEngine, FakeStore
from vllama_core.config import AgentConfig
pieces, delay, seconds, wait = int(sys.argv[1]), *map(float, sys.argv[2:])
logs.configure("json", "info")
config = AgentConfig(port=0, drain_seconds=seconds, drain_delay=wait)
engine = FakeEngine(pieces=["x"] * pieces, delay=delay)
sys.exit(uvloop.run(serve(config, store=FakeStore("m:latest"), make_engine=lambda *_: engine)))
"""


SILENT_HUB = """
import asyncio, logging, sys, uvloop
from vllama_agent import logs
from vllama_agent.server import serve
from vllama_agent.store import pull
from vllama_agent.testing import FakeEngine, FakeStore
from vllama_core.config import AgentConfig
async def find(*_):
    logging.getLogger("hub").info("asked")
    await asyncio.Event().wait()
pull.find = find
logs.configure("json", "info")
config = AgentConfig(port=0, models=("elsewhere",))
sys.exit(uvloop.run(serve(config, store=FakeStore("m:latest"), make_engine=lambda *_: FakeEngine(), sources=object())))
"""


class Agent:
    """The process, and where it listens."""

    def __init__(self, *, pieces, delay, drain_seconds, drain_delay=0.0):
        self.arguments = [str(value) for value in (pieces, delay, drain_seconds, drain_delay)]
        self.log = []

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *self.arguments, stderr=asyncio.subprocess.PIPE)
        self.reading = asyncio.create_task(self._read())
        await until(lambda: any("listening" in line["message"] for line in self.log), seconds=20)
        self.url = self.log[0]["message"].removeprefix("listening on ")
        self.http = aiohttp.ClientSession()
        return self

    async def _read(self):
        async for line in self.process.stderr:
            self.log.append(json.loads(line))

    async def __aexit__(self, *_):
        await self.http.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.reading
        await self.process.wait()

    async def ended(self):
        return await asyncio.wait_for(self.process.wait(), 20)


async def test_a_short_stream_finishes_and_new_connections_are_refused():
    async with Agent(pieces=20, delay=0.02, drain_seconds=60) as agent:
        response = await agent.http.post(agent.url + "/api/chat", json=CHAT)
        await response.content.readline()
        agent.process.send_signal(signal.SIGTERM)
        await until(lambda: any("no longer accepting" in line["message"] for line in agent.log))
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.ClientSession() as other, other.get(agent.url + "/") as refused:
                await refused.read()
        objects = [json.loads(line) async for line in response.content]
        assert objects[-1]["done"] is True
        assert await agent.ended() == 0


@pytest.mark.parametrize(("path", "ending"), [("/api/chat", '"}\n'), ("/v1/chat/completions", "data: [DONE]\n\n")])
async def test_a_longer_stream_ends_with_an_event(path, ending):
    async with Agent(pieces=100_000, delay=0.01, drain_seconds=0.2) as agent:
        response = await agent.http.post(agent.url + path, json=CHAT | {"stream": True})
        await response.content.readline()
        agent.process.send_signal(signal.SIGTERM)
        text = await response.text()
        assert "shutting down" in text
        assert text.endswith(ending)
        assert await agent.ended() == 0


async def test_while_balancers_lag_it_is_not_ready_but_answers():
    async with Agent(pieces=1, delay=0, drain_seconds=5, drain_delay=30) as agent:
        agent.process.send_signal(signal.SIGTERM)
        await until(lambda: any("SIGTERM" in line["message"] for line in agent.log))
        async with agent.http.get(agent.url + "/readyz") as response:
            assert response.status == 503
            assert "shutting down" in await response.text()
        async with agent.http.post(agent.url + "/api/chat", json=CHAT) as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"
            await response.read()
        agent.process.send_signal(signal.SIGTERM)
        assert await agent.ended() == 0


async def test_a_second_signal_ends_at_once():
    async with Agent(pieces=100_000, delay=0.01, drain_seconds=600) as agent:
        response = await agent.http.post(agent.url + "/api/chat", json=CHAT)
        await response.content.readline()
        agent.process.send_signal(signal.SIGINT)
        await until(lambda: any("SIGINT" in line["message"] for line in agent.log))
        agent.process.send_signal(signal.SIGINT)
        assert "shutting down" in await response.text()
        assert await agent.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_start_that_waits_for_a_silent_hub(number):
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT_HUB, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            while b"asked" not in await process.stderr.readline():
                pass
            process.send_signal(number)
            rest = await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    assert [json.loads(line)["message"] for line in rest.splitlines()] == [f"{number.name}: the start is given up", "stopped"]
