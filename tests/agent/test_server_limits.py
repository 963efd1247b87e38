"""Limits of keys on the real server: refused in each family's shape, counted by name."""

import asyncio
import json

import pytest

from vllama_agent.testing import FakeEngine, serving, until

HI = [{"role": "user", "content": "hi"}]
ASKED = {
    "/api/chat": {"model": "m", "messages": HI},
    "/api/generate": {"model": "m", "prompt": "hi"},
    "/v1/chat/completions": {"model": "m", "messages": HI},
    "/v1/completions": {"model": "m", "prompt": "hi"},
}
ALICE, BOB = {"Authorization": "Bearer alice-key"}, {"x-api-key": "bob-key"}


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text("alice-key name=alice concurrency=1\nbob-key name=bob tokens-per-minute=60\n")
    return path


def sentence(path, text):
    told = json.loads(text)["error"]
    if path.startswith("/api/"):
        return told
    assert (told["type"], told["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    return told["message"]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_second_answer_of_a_key_that_may_have_one_is_refused_in_its_familys_shape(http, keys, path, stream):
    gate = asyncio.Event()
    async with serving(FakeEngine(gate=gate), api_key_file=keys) as served:

        async def ask(headers):
            async with http.post(served.url + path, json=ASKED[path] | {"stream": stream}, headers=headers) as response:
                return response.status, response.headers, await response.text()

        first = asyncio.create_task(ask(ALICE))
        await until(lambda: served.engine.running == 1)
        status, headers, text = await ask(ALICE)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "1 answers at once" in sentence(path, text)
        other = asyncio.create_task(ask(BOB))
        await until(lambda: served.engine.running == 2)
        gate.set()
        assert [(await task)[0] for task in (first, other)] == [200, 200]
        assert (await ask(ALICE))[0] == 200


@pytest.mark.parametrize("path", ASKED)
async def test_a_key_that_has_used_its_tokens_waits(http, keys, path):
    body = ASKED[path] | {"stream": False}
    async with serving(FakeEngine(pieces=["x"] * 100), api_key_file=keys) as served:
        async with http.post(served.url + path, json=body, headers=BOB) as response:
            assert response.status == 200
        async with http.post(served.url + path, json=body, headers=BOB) as response:
            assert response.status == 429
            assert 30 < int(response.headers["Retry-After"]) < 120
            assert "60 tokens a minute" in sentence(path, await response.text())
        async with http.get(served.url + "/api/tags", headers=BOB) as response:
            assert response.status == 200, "looking around costs no tokens"


async def test_what_was_made_for_a_reader_that_left_is_paid(http, keys):
    engine = FakeEngine(pieces=["x"] * 50, delay=0.005)
    async with serving(engine, api_key_file=keys) as served:
        async with http.post(served.url + "/api/generate", json=ASKED["/api/generate"], headers=BOB) as response:
            await response.content.readline()
        await until(lambda: engine.running == 0)
        [bob] = served.service.accounts
        assert bob.prompt_tokens == len("<user>hi<assistant>") + 1
        assert 1 <= bob.answer_tokens == engine.generated < 50
        assert bob.running == 0


async def test_metrics_and_log_name_whose_key_it_was_and_never_the_key(http, keys, caplog):
    caplog.set_level("DEBUG")
    async with serving(api_key_file=keys) as served:
        for headers in (ALICE, BOB):
            async with http.post(served.url + "/api/generate", json=ASKED["/api/generate"] | {"stream": False}, headers=headers):
                pass
        async with http.get(served.url + "/metrics", headers=ALICE) as response:
            text = await response.text()
    assert 'vllama_key_requests_total{key="alice",status="200"} 1.0' in text
    assert 'vllama_key_tokens_total{key="bob",kind="prompt"} 20.0' in text
    assert 'vllama_key_answers_running{key="bob"} 0.0' in text
    assert {record.key for record in caplog.records if record.name == "vllama.access"} == {"alice", "bob"}
    assert "alice-key" not in text + caplog.text + str([record.__dict__ for record in caplog.records])


async def test_more_choices_than_the_key_may_have_at_once_are_a_400(http, keys):
    async with serving(api_key_file=keys) as served:
        body = ASKED["/v1/chat/completions"] | {"n": 2}
        async with http.post(served.url + "/v1/chat/completions", json=body, headers=ALICE) as response:
            assert response.status == 400
            assert "asks for 2 answers at once" in await response.text()
