"""`vllama connect`: programs that send no key, in front of a server that asks for one."""

import asyncio
import contextlib
import json

import aiohttp
import ollama
import openai
import pytest

from vllama_agent.commands import connect as command
from vllama_agent.connect import Upstream
from vllama_agent.connect.main import running
from vllama_agent.connect.proxy import Proxy
from vllama_agent.cors import Origins
from vllama_agent.testing import FakeEngine, serving, until
from vllama_core.errors import ConfigError

KEY = "s3cret-key"
HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": HI}
TEXT = "The quick brown fox jumps over the lazy dog."


@contextlib.asynccontextmanager
async def connected(url, key=(KEY,), origins=()):
    async with running(Upstream(url=url, key=lambda: key[0]), port=0, origins=Origins(origins)) as here:
        yield here


@contextlib.asynccontextmanager
async def protected(tmp_path, engine=None, **settings):
    (tmp_path / "keys").write_text(f"{KEY} name=me\n")
    async with serving(engine, api_key_file=tmp_path / "keys", **settings) as served, connected(served.url) as here:
        yield served, here


@contextlib.asynccontextmanager
async def stand_in(answer):
    """A server that sends some bytes for each request, and closes."""

    async def handle(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())


async def test_clients_without_a_key_use_a_server_that_asks_for_one(tmp_path):
    async with protected(tmp_path) as (_, here):
        async with ollama.AsyncClient(here) as client:
            assert (await client.chat(model="m", messages=HI)).message.content == TEXT
            assert "".join([part.message.content async for part in await client.chat(model="m", messages=HI, stream=True)]) == TEXT
            assert (await client.list()).models[0].model == "m:latest"
        async with openai.AsyncOpenAI(base_url=f"{here}/v1", api_key="another one") as client:
            stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
            assert "".join([part.choices[0].delta.content or "" async for part in stream]) == TEXT


async def test_every_piece_of_a_stream_passes_when_it_comes(http, tmp_path):
    turnstile = asyncio.Semaphore(1)
    turnstile.wait = turnstile.acquire
    async with protected(tmp_path, FakeEngine(gate=turnstile)) as (_, here), http.post(f"{here}/api/chat", json=CHAT) as asked:
        for word in ("The", " quick", " brown"):
            assert json.loads(await asked.content.readline())["message"]["content"] == word
            turnstile.release()


async def test_a_client_that_leaves_ends_the_servers_work(http, tmp_path):
    engine = FakeEngine(pieces=["x"] * 10_000, delay=0.005)
    async with protected(tmp_path, engine) as (_, here):
        async with http.post(f"{here}/api/chat", json=CHAT) as asked:
            await asked.content.readline()
        await until(lambda: engine.cancelled == 1 and engine.running == 0)


async def test_methods_bodies_statuses_and_headers_pass(http, tmp_path):
    async with protected(tmp_path, home=tmp_path) as (served, here):
        async with http.head(f"{here}/") as response:
            assert (response.status, response.headers["Content-Length"]) == (200, "17")
        async with http.get(f"{here}/v1/models/a%2Fb?x=%C3%BC") as response:
            assert response.status == 404
            assert "'a/b'" in (await response.json())["error"]["message"]
        async with http.post(f"{here}/api/chat", json=CHAT | {"stream": False, "options": {"num_gpu": 1}}) as response:
            assert response.headers["X-Vllama-Ignored"] == "num_gpu"
            assert response.headers["X-Vllama-Version"] == served.service.version
            assert (await response.json())["message"]["content"] == TEXT
        async with http.put(f"{here}/api/chat") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")

        async def pieces():
            for _ in range(100):
                yield b"y" * 10_000

        async with http.post(f"{here}/api/blobs/sha256:{'0' * 64}", data=pieces()) as response:
            assert response.status == 400
            assert "digest mismatch" in (await response.json())["error"]
        async with http.delete(f"{here}/api/delete", json={"model": "none"}) as response:
            assert response.status == 404


async def test_callers_keys_and_cookies_stay_here_and_the_servers_own_word_on_a_key_comes_back(http, tmp_path, caplog):
    (tmp_path / "keys").write_text("another\n")
    async with serving(api_key_file=tmp_path / "keys") as served, connected(served.url) as here:
        headers = {"Authorization": "Bearer another", "x-api-key": "another", "Cookie": "a=another"}
        async with http.post(f"{here}/v1/chat/completions", json=CHAT, headers=headers) as response:
            assert response.status == 401
            assert "not known here" in (await response.json())["error"]["message"]
    assert "refuses the key" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://mine.example"}, 200),
        ({}, 200),
    ],
)
async def test_strangers_pages_cannot_use_the_key(http, tmp_path, headers, status):
    (tmp_path / "keys").write_text(KEY)
    async with serving(api_key_file=tmp_path / "keys") as served, connected(served.url, origins=("https://mine.example",)) as here:
        async with http.post(f"{here}/api/chat", data=json.dumps(CHAT | {"stream": False}), headers=headers) as response:
            assert response.status == status
            allowed = headers.get("Origin") if status == 200 else None
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
        assert len(served.engine.requests) == (status == 200)


async def test_preflights_are_answered_here(http):
    async with connected("http://127.0.0.1:9") as here:
        headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
        async with http.options(f"{here}/api/chat", headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


def told(path, value):
    if path.startswith("/api/"):
        return value["error"]
    if path.startswith("/v1/messages"):
        assert (value["type"], value["error"]["type"]) == ("error", "api_error")
    return value["error"]["message"]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_server_that_is_not_there_is_told_in_the_familys_shape(http, path):
    async with connected("http://127.0.0.1:9") as here, http.post(here + path, json=CHAT) as response:
        assert response.status == 502
        assert told(path, await response.json()) == "no server answers at http://127.0.0.1:9: Connection refused"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "closed the connection without an answer"),
    ],
)
async def test_what_is_no_http_server_is_told(http, answer, words):
    async with stand_in(answer) as url, connected(url) as here, http.get(f"{here}/api/tags") as response:
        assert response.status == 502
        assert words in (await response.json())["error"]


async def test_a_server_without_tls_is_told(http):
    async with serving() as served, connected(served.url.replace("http", "https")) as here, http.get(here) as response:
        assert response.status == 502
        assert "does not speak TLS" in (await response.json())["error"]


async def test_a_redirect_is_handed_back_and_not_followed_with_the_key(http):
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n"
    async with stand_in(answer) as url, connected(url) as here, http.get(f"{here}/api/tags", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "http://evil.example/")


def half(media_type, piece):
    """A reply that says that it is longer than it is."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (media_type, len(piece), piece)


@pytest.mark.parametrize(
    ("path", "media_type", "piece"),
    [
        ("/api/chat", b"application/x-ndjson", b'{"done":false}\n'),
        ("/v1/chat/completions", b"text/event-stream", b'data: {"choices":[]}\n\n'),
        ("/v1/messages", b"text/event-stream", b"event: ping\ndata: {}\n\n"),
    ],
)
async def test_a_server_that_breaks_off_is_told_at_the_streams_end(http, path, media_type, piece):
    async with stand_in(half(media_type, piece)) as url, connected(url) as here, http.post(here + path, json=CHAT) as response:
        text = await response.read()
    assert text.startswith(piece)
    lines = [line.removeprefix(b"data: ") for line in text.removeprefix(piece).splitlines() if line and not line.startswith(b"event:")]
    assert "broke off in the middle" in told(path, json.loads(lines[0]))
    assert lines[1:] == ([b"[DONE]"] if path == "/v1/chat/completions" else [])


async def test_a_reply_without_room_for_words_visibly_has_no_end(http):
    async with stand_in(half(b"application/json", b'{"a":')) as url, connected(url) as here:
        with pytest.raises(aiohttp.ClientError):
            async with http.get(f"{here}/api/tags") as response:
                await response.read()


async def test_a_key_that_changes_counts_from_the_next_request_on(http, tmp_path):
    (tmp_path / "keys").write_text("new\n")
    keys = ["old"]
    async with serving(api_key_file=tmp_path / "keys") as served, connected(served.url, key=keys) as here:
        for key, status in (("old", 401), ("new", 200)):
            keys[0] = key
            async with http.get(f"{here}/api/tags") as response:
                assert response.status == status


async def test_a_reader_that_takes_nothing_loses_its_reply(tmp_path, monkeypatch):
    monkeypatch.setattr("vllama_agent.connect.proxy.READER_SECONDS", 0.2)
    engine = FakeEngine(pieces=["x" * 1_000_000] * 100)
    async with protected(tmp_path, engine) as (_, here):
        reader, writer = await asyncio.open_connection(*here.removeprefix("http://").split(":"), limit=1000)
        body = json.dumps(CHAT).encode()
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert await reader.readline()
        await until(lambda: engine.cancelled == 1)
        writer.close()


def test_nothing_shows_the_key():
    upstream = Upstream(url="http://x", key=lambda: KEY)
    assert KEY not in repr(upstream) + repr(Proxy(upstream, Origins(), None).__dict__)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ftp://x", "--api-key-file", "{keys}"], "URL is 'ftp://x'"),
        (["http://u:p@x", "--api-key-file", "{keys}"], "URL is"),
        (["x", "--api-key-file", "{keys}", "--port", "x"], "--port is 'x'"),
        (["x", "--api-key-file", "{keys}", "--ca-file", "{keys}"], "holds no certificate in PEM"),
        (["x", "--api-key-file", "{keys}", "--ca-file", "/none"], "cannot be read: No such file"),
        (["x", "--api-key-file", "/none"], "/none cannot be read"),
        (["x", "--api-key-file", "{odd}"], "has characters that no header can carry"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, words, told):
    (tmp_path / "keys").write_text(KEY)
    (tmp_path / "odd").write_text("ключ")
    places = {"keys": tmp_path / "keys", "odd": tmp_path / "odd"}
    arguments = command.parser("vllama connect").parse_args([word.format(**places) for word in words])
    with pytest.raises(ConfigError) as caught:
        command.run(arguments)
    assert told in str(caught.value)
    assert KEY not in str(caught.value)


async def test_a_port_that_is_taken_is_named():
    async with connected("http://127.0.0.1:9") as here:
        port = int(here.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            async with running(Upstream(url="http://x", key=lambda: KEY), port=port, origins=Origins()):
                pass
