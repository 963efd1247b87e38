"""HTTPS by certificate files: served, renewed while it runs, and refused in words."""

import asyncio
import json
import os
import signal
import ssl

import ollama
import pem
import pytest

from vllama_agent.connect import Upstream
from vllama_agent.connect.main import running
from vllama_agent.cors import Origins
from vllama_agent.server import reloading, tls
from vllama_agent.testing import FakeEngine, serving, until
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

TEXT = "The quick brown fox jumps over the lazy dog."
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def files(tmp_path):
    return pem.make(tmp_path)


def trusting(certificate):
    return ssl.create_default_context(cafile=str(certificate))


def settings(files):
    return {"tls_cert": files[0], "tls_key": files[1]}


async def presented(url, trust):
    """Subject of the certificate that a new connection gets."""
    host, port = url.removeprefix("https://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=trust)
    subject = dict(part for (part,) in writer.get_extra_info("peercert")["subject"])
    writer.close()
    return subject["commonName"]


async def test_everything_is_served_over_https(http, files):
    async with serving(**settings(files)) as served:
        assert served.url.startswith("https://")
        async with http.post(served.url + "/api/chat", json=CHAT, ssl=trusting(files[0])) as response:
            lines = [json.loads(line) async for line in response.content]
            assert "".join(line["message"]["content"] for line in lines) == TEXT
            assert response.connection is None or response.connection.transport is not None
        async with ollama.AsyncClient(served.url, verify=trusting(files[0])) as client:
            assert (await client.generate(model="m", prompt="hi")).response == TEXT


async def test_a_client_that_leaves_ends_its_work_over_tls_too(http, files):
    engine = FakeEngine(pieces=["x"] * 10_000, delay=0.005)
    async with serving(engine, **settings(files)) as served:
        async with http.post(served.url + "/api/chat", json=CHAT, ssl=trusting(files[0])) as response:
            await response.content.readline()
        await until(lambda: engine.cancelled == 1 and engine.running == 0)


async def test_a_reader_that_takes_nothing_loses_its_stream_over_tls_too(files):
    engine = FakeEngine(pieces=["x" * 1_000_000] * 200)
    async with serving(engine, write_timeout=0.3, **settings(files)) as served:
        host, port = served.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trusting(files[0]), limit=1000)
        body = json.dumps(CHAT).encode()
        writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert await reader.readline()
        await until(lambda: engine.cancelled == 1)
        writer.transport.abort()


async def test_a_renewed_certificate_is_presented_to_the_next_connection(http, tmp_path, files):
    renewed = pem.make(tmp_path, "renewed")
    both = trusting(files[0])
    both.load_verify_locations(renewed[0])
    async with serving(**settings(files)) as served, http.get(served.url, ssl=both) as first:
        assert await presented(served.url, both) == "server"
        for new, old in zip(renewed, files, strict=True):
            os.replace(new, old)
        assert await presented(served.url, both) == "renewed"
        assert await first.text() == "Ollama is running", "and an open connection goes on"


async def test_a_half_renewed_pair_leaves_the_old_one_in_use(tmp_path, files, caplog):
    renewed = pem.make(tmp_path, "renewed")
    both = trusting(files[0])
    both.load_verify_locations(renewed[0])
    async with serving(**settings(files)) as served:
        os.replace(renewed[0], files[0])
        assert [await presented(served.url, both) for _ in range(2)] == ["server", "server"]
        assert caplog.text.count("does not belong to the certificate") == 1
        os.replace(renewed[1], files[1])
        assert await presented(served.url, both) == "renewed"


async def test_sighup_reads_the_certificate_again(files, caplog):
    caplog.set_level("INFO")
    async with serving(**settings(files)) as served, reloading.followed(served.service):
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "the certificate was read again" in caplog.text)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_of_tls_are_refused(files):
    client = trusting(files[0])
    client.set_ciphers("DEFAULT@SECLEVEL=0")
    async with serving(**settings(files)) as served:
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await presented(served.url, client) == "server"
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await presented(served.url, client)


async def test_what_is_no_tls_costs_a_connection_and_no_traceback(http, files, caplog):
    async with serving(**settings(files)) as served:
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("https://").split(":"))
        writer.write(b"GET /s3cret HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await reader.read() in (b"", b"\x15\x03\x01\x00\x02\x02F", b"\x15\x03\x03\x00\x02\x02F")
        writer.close()
        async with http.get(served.url, ssl=trusting(files[0])) as response:
            assert response.status == 200
    assert "Traceback" not in caplog.text
    assert "s3cret" not in caplog.text


async def test_the_proxy_trusts_whom_it_is_told_to(http, tmp_path, files):
    (tmp_path / "keys").write_text("k\n")

    async def asked(url, trust):
        upstream = Upstream(url=url, key=lambda: "k", tls=trust)
        async with running(upstream, port=0, origins=Origins()) as here, http.get(f"{here}/api/version") as response:
            return response.status, await response.text()

    async with serving(api_key_file=tmp_path / "keys", **settings(files)) as served:
        assert (await asked(served.url, trusting(files[0])))[0] == 200
        status, told = await asked(served.url, None)
        assert status == 502
        assert "the certificate of https://127.0.0.1" in told
        assert "--ca-file" in told


def test_one_without_the_other_is_named(files):
    with pytest.raises(ConfigError, match="--tls-cert was given without --tls-key"):
        tls.certificate_of(AgentConfig(tls_cert=files[0]))
    with pytest.raises(ConfigError, match="--tls-key was given without --tls-cert"):
        tls.certificate_of(AgentConfig(tls_key=files[1]))
    assert tls.certificate_of(AgentConfig()) is None


def test_wrong_files_are_named(tmp_path, files):
    certificate, key = files
    other = pem.make(tmp_path, "other")[1]
    torn, encrypted = tmp_path / "torn", tmp_path / "encrypted"
    torn.write_bytes(certificate.read_bytes()[:200])
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for pair, words in (
        ((tmp_path / "none", key), "--tls-cert is .*none.*No such file"),
        ((certificate, tmp_path), "--tls-key is .*it cannot be read: Is a directory"),
        ((key, key), "--tls-cert is .*holds no certificate in PEM"),
        ((certificate, certificate), "--tls-key is .*holds no private key in PEM"),
        ((certificate, encrypted), "the key is encrypted"),
        ((certificate, other), "does not belong to the certificate"),
        ((torn, key), "cannot be used: "),
    ):
        with pytest.raises(ConfigError, match=words):
            tls.Certificate(*pair)
