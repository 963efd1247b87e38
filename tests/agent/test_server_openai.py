"""The OpenAI routes over a fake engine."""

import asyncio
import json
from dataclasses import replace

import pytest

from vllama_agent.testing import FACTS, FakeEngine, FakeStore, serving, until

TEXT = "The quick brown fox jumps over the lazy dog."
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def frames(response):
    found = [frame for frame in (await response.text()).split("\n\n") if frame]
    assert found.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in found]


async def test_a_stream_with_usage(http):
    async with serving() as served:
        body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
        async with http.post(served.url + "/v1/chat/completions", json=body) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            found = await frames(response)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": "The"}
    assert "".join(f["choices"][0]["delta"].get("content", "") for f in found[:-1]) == TEXT
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize("stream", [True, False])
async def test_several_answers_share_a_prompt(http, stream):
    async with serving() as served:
        body = CHAT | {"n": 3, "seed": 1, "max_tokens": 2, "stream": stream, "stream_options": {"include_usage": True}}
        async with http.post(served.url + "/v1/chat/completions", json=body) as response:
            if stream:
                *found, last = await frames(response)
                texts = ["", "", ""]
                for item in found:
                    texts[item["choices"][0]["index"]] += item["choices"][0]["delta"].get("content", "")
                usage = last["usage"]
            else:
                value = await response.json()
                texts, usage = [choice["message"]["content"] for choice in value["choices"]], value["usage"]
    assert texts == [" quick brown", " brown fox", " fox jumps"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (20, 6)


async def test_completions_take_the_prompt_as_it_stands(http):
    async with serving() as served:
        body = {"model": "m", "prompt": ["a", "b"], "max_tokens": 1, "logprobs": 1}
        async with http.post(served.url + "/v1/completions", json=body) as response:
            value = await response.json()
        assert [choice["index"] for choice in value["choices"]] == [0, 1]
        assert value["choices"][0]["logprobs"]["tokens"] == ["The"]
        assert [request.prompt for request in served.engine.requests] == ["a", "b"]
        async with http.post(served.url + "/v1/completions", json={"model": "m", "prompt": [65, 66], "stream": True}) as response:
            assert "".join(f["choices"][0]["text"] for f in await frames(response)) == TEXT
        async with http.post(served.url + "/v1/completions", json={"model": "m", "prompt": [[1], [9999]]}) as response:
            assert response.status == 400
            assert "vocabulary" in (await response.json())["error"]["message"]


async def test_a_long_prompt_is_always_refused(http):
    async with serving(FakeEngine(facts=replace(FACTS, context_length=8))) as served:
        for stream in (True, False):
            async with http.post(served.url + "/v1/chat/completions", json=CHAT | {"stream": stream}) as response:
                assert response.status == 400
                assert (await response.json())["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("n", [1, 2])
async def test_an_error_in_mid_stream_is_told_before_done(http, n):
    async with serving(FakeEngine(crash_after=3)) as served:
        async with http.post(served.url + "/v1/chat/completions", json=CHAT | {"stream": True, "n": n}) as response:
            assert response.status == 200
            *_, last = await frames(response)
        assert last["error"]["message"].startswith("model runner has unexpectedly stopped")
        assert served.engine.running == 0


async def test_several_answers_end_when_their_client_leaves(http):
    async with serving(FakeEngine(gate=asyncio.Event())) as served:
        asking = asyncio.create_task(http.post(served.url + "/v1/chat/completions", json=CHAT | {"stream": True, "n": 3}))
        await until(lambda: served.engine.running == 3)
        asking.cancel()
        await until(lambda: served.engine.running == 0)
        await until(lambda: served.service.admission.inflight == 0)


async def test_models(http):
    async with serving(store=FakeStore("org/name:Q4_K_M", "m:latest")) as served:
        async with http.get(served.url + "/v1/models") as response:
            value = await response.json()
        assert [(entry["id"], entry["owned_by"]) for entry in value["data"]] == [("org/name:Q4_K_M", "org"), ("m:latest", "library")]
        async with http.get(served.url + "/v1/models/org/name:q4_k_m") as response:
            assert (await response.json())["id"] == "org/name:Q4_K_M"
        for nowhere in ("none", "two%0Alines"):
            async with http.get(f"{served.url}/v1/models/{nowhere}") as response:
                assert response.status == 404
                assert (await response.json())["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank"])
async def test_what_comes_later_says_so(http, path):
    async with serving() as served, http.post(served.url + path, json={}) as response:
        assert response.status == 501
        assert "not yet" in (await response.json())["error"]["message"]
