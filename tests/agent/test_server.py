"""The real server over a fake engine: the native API, errors, limits, keys, browsers, probes."""

import asyncio
import io
import json
import logging
import re
from dataclasses import replace

import pytest

from vllama_agent.engines.base import EngineState
from vllama_agent.server.routes import ROUTES
from vllama_agent.testing import FACTS, FakeEngine, FakeStore, serving, until
from vllama_core.errors import ConfigError, ModelNotFound

TEXT = "The quick brown fox jumps over the lazy dog."
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def lines(response):
    return [json.loads(line) async for line in response.content]


async def test_root_and_version(http):
    async with serving() as served:
        for method in ("GET", "HEAD"):
            async with http.request(method, served.url + "/") as response:
                assert (response.status, await response.text()) == (200, "Ollama is running" if method == "GET" else "")
        async with http.get(served.url + "/api/version") as response:
            assert all(part.isdigit() for part in (await response.json())["version"].split("."))
            assert response.headers["X-Vllama-Version"]
            assert response.headers["X-Vllama-Load"].startswith("inflight=0, queued=0, kv-free=")


async def test_chat_streams(http):
    async with serving() as served, http.post(served.url + "/api/chat", json=CHAT) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        objects = await lines(response)
    assert "".join(o["message"]["content"] for o in objects) == TEXT
    assert [o["done"] for o in objects] == [False] * 10 + [True]
    assert objects[-1]["done_reason"] == "stop"
    assert objects[-1]["eval_count"] == 10


async def test_generate_in_one_object_goes_on_from_its_context(http):
    async with serving() as served:
        body = {"model": "M", "prompt": "hi", "stream": False}
        async with http.post(served.url + "/api/generate", json=body) as response:
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            first = await response.json()
        assert (first["model"], first["response"], first["done"]) == ("M", TEXT, True)
        async with http.post(served.url + "/api/generate", json=body | {"context": first["context"]}) as response:
            second = await response.json()
        assert second["context"][: len(first["context"])] == first["context"]
        async with http.post(served.url + "/api/generate", json=body | {"raw": True}) as response:
            assert "context" not in await response.json()


async def test_logprobs(http):
    body = CHAT | {"logprobs": True, "top_logprobs": 2, "options": {"num_predict": 2}}
    async with serving() as served:
        async with http.post(served.url + "/api/chat", json=body) as response:
            objects = await lines(response)
        assert [len(o.get("logprobs", [])) for o in objects] == [1, 1, 0]
        assert len(objects[0]["logprobs"][0]["top_logprobs"]) == 2
        async with http.post(served.url + "/api/chat", json=body | {"stream": False}) as response:
            value = await response.json()
    assert len(value["logprobs"]) == 2
    assert value["done_reason"] == "length"


async def test_render_only(http):
    async with serving() as served:
        async with http.post(served.url + "/api/chat", json=CHAT | {"_debug_render_only": True}) as response:
            assert (await response.json())["_debug_info"] == {"rendered_template": "<user>hi<assistant>"}
        assert not served.engine.requests


@pytest.mark.parametrize(("route", "extra"), [("generate", {"prompt": ""}), ("chat", {"messages": []})])
async def test_empty_requests_load_and_unload(http, route, extra):
    async with serving() as served:
        for keep_alive, reason, state in ((None, "load", EngineState.READY), (0, "unload", EngineState.STOPPED)):
            body = {"model": "m", "keep_alive": keep_alive, **extra}
            async with http.post(f"{served.url}/api/{route}", json=body) as response:
                value = await response.json()
            assert (value["done"], value["done_reason"]) == (True, reason)
            await until(lambda state=state: served.engine.state is state)


async def test_headers_and_the_log_tell_what_was_ignored_and_cut(http, caplog):
    caplog.set_level(logging.DEBUG, "vllama_agent.server")
    engine = FakeEngine(facts=replace(FACTS, context_length=64))
    async with serving(engine) as served:
        options = {"num_gpu": 1, "num_ctx": 70, "num_predict": 1}
        body = {"model": "m", "messages": [{"role": "user", "content": "x" * 100}], "options": options}
        async with http.post(served.url + "/api/chat", json=body) as response:
            assert response.headers["X-Vllama-Ignored"] == "num_gpu, num_ctx"
            [told] = [record for record in caplog.records if "not honoured" in record.message]
            assert (told.model, told.options) == ("m:latest", "num_gpu, num_ctx")
            dropped, asked = map(int, response.headers["X-Vllama-Truncated"].split("/"))
            assert 0 < dropped < asked
        async with http.post(served.url + "/api/chat", json=body | {"truncate": False}) as response:
            assert response.status == 400
            assert "longer than the context length" in (await response.json())["error"]
        wide = body | {"options": {"num_ctx": 9999}}
        async with http.post(served.url + "/api/chat", json=wide) as response:
            assert response.status == 400, "the window that was asked for would have held it"
            assert "context 64 (num_ctx 9999 was asked for" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"{", 400, "not valid JSON"),
        ("/api/chat", b'{"model":"m","messages":"\xff"}', 400, "not valid JSON"),
        ("/api/chat", b"[" * 50_000, 400, "not valid JSON"),
        ("/api/chat", b"{}", 400, "model is required"),
        ("/api/generate", b"{}", 404, "model '' not found"),
        ("/api/generate", b'{"model":"no such"}', 400, "invalid model name"),
        ("/api/generate", b'{"model":"other"}', 404, "model 'other' not found"),
        ("/api/show", b'{"name":"other"}', 404, "model 'other:latest' not found"),
        ("/api/chat", b'{"model":"m","messages":[{"role":"robot"}]}', 400, "messages[0].role"),
        ("/api/chat", b'{"model":"m","options":{"top_k":"x"}}', 400, "options.top_k"),
        ("/api/generate", b'{"model":"m","prompt":"a","tools":[{}]}', 400, "not yet"),
        ("/api/generate", b'{"model":"m","prompt":"a","suffix":"b"}', 400, "m does not support insert"),
        ("/api/chat", b'{"model":"m","logprobs":1}', 400, "logprobs must be a boolean"),
        ("/api/generate", b'{"model":"m","images":{}}', 400, "images"),
        ("/api/show", b'{"model":"m","verbose":"yes"}', 400, "verbose must be a boolean"),
        ("/api/show", b'{"model":"m","name":1}', 400, "name must be a string"),
        ("/api/embed", b"{}", 501, "not yet"),
        ("/api/pull", b"{}", 400, "model is required"),
        ("/api/me", b"", 501, "accounts"),
        ("/api/web_search", b'{"query":"x"}', 501, "ollama.com"),
        ("/api/web_fetch", b'{"url":"http://a"}', 501, "ollama.com"),
        ("/api/experimental/web_search", b'{"query":"x"}', 501, "ollama.com"),
    ],
)
async def test_refusals(http, path, body, status, words):
    async with serving() as served, http.post(served.url + path, data=body) as response:
        assert response.status == status
        assert response.headers["Content-Type"].startswith("application/json")
        assert words in (await response.json())["error"]


@pytest.mark.parametrize(("path", "status", "text"), [("/api/tags", 405, "405 method not allowed"), ("/no", 404, "404 page not found")])
async def test_unknown_routes_and_methods(http, path, status, text):
    async with serving() as served, http.put(served.url + path) as response:
        assert (response.status, await response.text(), response.content_type) == (status, text, "text/plain")


async def test_a_body_that_is_too_large(http):
    async with serving(max_body_bytes=1000) as served, http.post(served.url + "/api/chat", data=b" " * 2000) as response:
        assert response.status == 413
        assert "1000 bytes" in (await response.json())["error"]


async def test_a_prompt_of_ten_megabytes(http):
    body = io.BytesIO(json.dumps({"model": "m", "prompt": "word " * 2_000_000, "truncate": False}).encode())
    async with serving() as served, http.post(served.url + "/api/generate", data=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert "longer than the context" in error
    assert "word" not in error


async def test_models_are_listed(http):
    async with serving(store=FakeStore("m:latest", "n:8b")) as served:
        async with http.get(served.url + "/api/tags") as response:
            models = (await response.json())["models"]
        assert [model["name"] for model in models] == ["m:latest", "n:8b"]
        assert models[0]["details"]["quantization_level"] == "Q4_K_M"
        async with http.get(served.url + "/api/ps") as response:
            assert await response.json() == {"models": []}
        async with http.post(served.url + "/api/generate", json={"model": "n:8b", "keep_alive": -1}):
            pass
        async with http.get(served.url + "/api/ps") as response:
            (loaded,) = (await response.json())["models"]
        assert (loaded["name"], loaded["size_vram"], loaded["context_length"]) == ("n:8b", 0, 4096)
        assert loaded["expires_at"] > "2300"


async def test_details_are_the_same_wherever_they_are_shown(http):
    async with serving() as served:
        async with http.post(served.url + "/api/generate", json={"model": "m"}):
            pass
        async with http.post(served.url + "/api/show", json={"model": "m"}) as response:
            details = (await response.json())["details"]
        for path in ("/api/tags", "/api/ps"):
            async with http.get(served.url + path) as response:
                assert [model["details"] for model in (await response.json())["models"]] == [details]
    assert details == {
        "parent_model": "",
        "format": "gguf",
        "family": "gemma3",
        "families": ["gemma3"],
        "parameter_size": "168M",
        "quantization_level": "Q4_K_M",
        "context_length": 32768,
        "embedding_length": 640,
    }


async def test_show(http):
    async with serving() as served:
        async with http.post(served.url + "/api/show", json={"name": "m"}) as response:
            short = await response.json()
        async with http.post(served.url + "/api/show", json={"model": "m", "verbose": True}) as response:
            long = await response.json()
    assert short["model_info"]["gemma3.context_length"] == 32768
    assert short["model_info"]["tokenizer.ggml.tokens"] == []
    assert "general.name" not in short["model_info"]
    assert "tensors" not in short
    assert len(long["model_info"]["tokenizer.ggml.tokens"]) == 6
    assert long["tensors"][0] == {"name": "token_embd.weight", "type": "Q8_0", "shape": [640, 262144]}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/generate", "does not support generate"),
        ("/api/chat", "does not support chat"),
        ("/v1/chat/completions", "'bert' does not generate text"),
        ("/v1/completions", "'bert' does not generate text"),
    ],
)
async def test_a_model_that_only_embeds_is_not_loaded_to_say_so(http, path, words):
    store = FakeStore("bert:latest")
    (bert,) = store.models()
    bert.__dict__["header"] = replace(bert.header, metadata={"general.architecture": "bert", "bert.pooling_type": 1})
    body = {"model": "bert", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}]}
    async with serving(store=store) as served:
        async with http.post(served.url + path, json=body) as response:
            assert response.status == 400
            assert words in await response.text()
        assert served.engine.loads == 0


async def test_an_engine_that_dies_before_the_first_byte_is_a_500(http):
    async with serving(FakeEngine(crash_after=1)) as served, http.post(served.url + "/api/chat", json=CHAT) as response:
        assert response.status == 500
        assert (await response.json())["error"].startswith("model runner has unexpectedly stopped")


async def test_an_engine_that_dies_later_ends_the_stream_with_an_error(http):
    async with serving(FakeEngine(crash_after=3)) as served, http.post(served.url + "/api/chat", json=CHAT) as response:
        assert response.status == 200
        objects = await lines(response)
    assert len(objects) == 3
    assert list(objects[-1]) == ["error"]


async def test_a_model_that_cannot_load_is_a_500(http):
    async with serving(FakeEngine(load_error="no memory")) as served, http.post(served.url + "/api/chat", json=CHAT) as response:
        assert response.status == 500
        assert "no memory" in (await response.json())["error"]


async def test_a_full_queue(http):
    gate = asyncio.Event()
    async with serving(FakeEngine(gate=gate), max_queue=1) as served:
        first = asyncio.create_task(http.post(served.url + "/api/chat", json=CHAT))
        await until(lambda: served.engine.running == 1)
        async with http.post(served.url + "/api/chat", json=CHAT) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
            assert (await response.json())["error"] == "server busy, please try again.  maximum pending requests exceeded"
        async with http.post(served.url + "/v1/chat/completions", json=CHAT) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "1"
        async with http.get(served.url + "/load") as response:
            assert (await response.json())["inflight"] == 1
        gate.set()
        assert len(await lines(await first)) == 11
        assert served.service.admission.inflight == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_vanishes_is_cancelled(http, stream):
    async with serving(FakeEngine(gate=asyncio.Event())) as served:
        asking = asyncio.create_task(http.post(served.url + "/api/chat", json=CHAT | {"stream": stream}))
        await until(lambda: served.engine.running == 1)
        asking.cancel()
        await until(lambda: served.engine.running == 0)
        assert served.engine.cancelled == 1
        await until(lambda: served.service.admission.inflight == 0)


async def test_a_client_that_vanishes_in_mid_stream_is_cancelled(http):
    async with serving(FakeEngine(delay=0.001, pieces=["x"] * 100_000)) as served:
        response = await http.post(served.url + "/api/chat", json=CHAT)
        await response.content.readline()
        response.close()
        await until(lambda: served.engine.cancelled == 1)


async def test_a_reader_that_does_not_read_is_dropped():
    engine = FakeEngine(pieces=["x" * 10_000] * 5_000)
    async with serving(engine, write_timeout=0.2) as served:
        host, port = served.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        body = json.dumps(CHAT).encode()
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await until(lambda: engine.cancelled == 1)
        assert engine.generated < 5_000
        writer.transport.abort()


async def test_keys(http, tmp_path):
    (tmp_path / "keys").write_text("alpha\nbeta\n")
    async with serving(api_key_file=tmp_path / "keys") as served:
        for path in ("/livez", "/readyz", "/startupz"):
            async with http.get(served.url + path) as response:
                assert response.status == 200
        for path in ("/", "/api/tags", "/metrics", "/load", "/no"):
            async with http.get(served.url + path) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert "API key" in (await response.json())["error"]
        async with http.get(served.url + "/v1/models", headers={"Authorization": "Bearer wrong"}) as response:
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        async with http.post(served.url + "/v1/messages", json={}) as response:
            assert (await response.json())["error"]["type"] == "authentication_error"
        for headers in ({"Authorization": "Bearer beta"}, {"x-api-key": "alpha"}):
            async with http.get(served.url + "/api/tags", headers=headers) as response:
                assert response.status == 200


@pytest.mark.parametrize("operation", [route.operation for route in ROUTES], ids=lambda given: f"{given.method} {given.path}")
async def test_every_route_but_the_probes_wants_a_key(http, tmp_path, operation):
    (tmp_path / "keys").write_text("alpha\n")
    path = re.sub(r"\{[^}]*\}", "x", operation.path)
    async with serving(api_key_file=tmp_path / "keys") as served:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with http.request(operation.method, served.url + path, headers=headers) as response:
                assert (response.status == 401) is not operation.probe


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b'{"model":"m","prompt":"\xff"}', "not valid JSON"),
        (b"[1]", "JSON object"),
        (b'{"model":5}', "model"),
    ],
)
async def test_what_is_no_request_is_refused_in_the_shape_of_its_api(http, path, body, words):
    async with serving() as served, http.post(served.url + path, data=body) as response:
        assert response.status == 400
        told = (await response.json())["error"]
        assert words in told["message"]
        assert told["type"] == "invalid_request_error"


async def test_browsers(http, tmp_path):
    (tmp_path / "keys").write_text("alpha\n")
    async with serving(origins=("https://mine.example",), api_key_file=tmp_path / "keys") as served:
        url = served.url + "/api/chat"
        asked = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}
        async with http.options(url, headers=asked) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://mine.example"
            assert "x-stainless-retry-count" in response.headers["Access-Control-Allow-Headers"]
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            async with http.get(served.url + "/", headers=headers) as response:
                assert (response.status, await response.read()) == (403, b"")
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_readiness_and_metrics(http):
    gate = asyncio.Event()
    async with serving(FakeEngine(gate=gate), models=("m",)) as served:
        for path in ("/readyz", "/startupz"):
            async with http.get(served.url + path) as response:
                assert response.status == 503
                assert "loading" in await response.text()
        gate.set()
        await until(lambda: served.service.unready() is None)
        async with http.get(served.url + "/readyz") as response:
            assert response.status == 200
        async with http.post(served.url + "/api/chat", json=CHAT) as response:
            await response.read()
        async with http.get(served.url + "/metrics") as response:
            text = await response.text()
    assert 'vllama_answer_tokens_total{model="m:latest"} 10.0' in text
    assert 'vllama_inter_token_seconds_count{model="m:latest"} 9.0' in text
    assert 'vllama_requests_total{route="/api/chat",status="200"} 1.0' in text


async def test_no_prompt_reaches_the_log(http, caplog):
    caplog.set_level("DEBUG")
    async with serving(FakeEngine(crash_after=2)) as served:
        body = {"model": "m", "messages": [{"role": "user", "content": "my secret"}]}
        async with http.post(served.url + "/api/chat", json=body) as response:
            await response.read()
        async with http.post(served.url + "/api/chat", data=b'{"model": "my secret') as response:
            assert "secret" not in await response.text()
    assert "POST /api/chat 200" in caplog.text
    assert "secret" not in caplog.text


async def test_a_port_that_is_taken_is_told_with_the_way_out():
    async with serving() as served:
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*--port"):
            async with serving(port=int(served.url.rpartition(":")[2])):
                pass


async def test_a_model_to_pin_that_is_not_there_ends_the_start():
    with pytest.raises(ModelNotFound):
        async with serving(models=("other",)):
            pass


async def test_an_old_client_gets_its_stream_without_chunks():
    async with serving() as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps(CHAT).encode()
        writer.write(b"POST /api/chat HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert b"chunked" not in head
    assert len([json.loads(line) for line in content.splitlines()]) == 11
