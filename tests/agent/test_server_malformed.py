"""Bytes that are no request, or no body: a 400, and nothing of them in the log."""

import asyncio

import pytest

from vllama_agent.testing import serving

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
MALFORMED = {
    "a header value": b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\x00\r\n\r\n",
    "a header name": b"GET / HTTP/1.1\r\nHost: localhost\r\nx secret: y\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"secret" * 3000 + b"\r\n\r\n",
    "no request": b"secret\r\n\r\n",
    "two lengths": POST + b"Content-Length: 6\r\nContent-Length: 7\r\n\r\nsecret",
    "a chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
    "an encoding": POST + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nsecret",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_is_a_400_and_stays_out_of_the_log(sent, caplog):
    caplog.set_level("DEBUG")
    async with serving() as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert b"400 Bad Request" in await reader.readline()
        writer.close()
    assert "was no HTTP" in caplog.text
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("path", "where"), [("/api/chat", ["error"]), ("/v1/chat/completions", ["error", "message"])])
async def test_a_body_that_is_not_what_its_headers_say_is_told_in_the_familys_shape(http, path, where):
    async with serving() as served, http.post(served.url + path, data=b"secret", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400
        told = await response.json()
    for key in where:
        told = told[key]
    assert "Content-Encoding" in told
    assert "secret" not in told
