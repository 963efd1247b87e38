"""Bytes that are no request, or no body: a 400, and nothing of them in its text or in the log."""

import asyncio
import json

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


async def answer_to(sent: bytes) -> bytes:
    """What the server says before it closes the connection, or begins to wait for more of the body."""
    async with serving() as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        writer.close()
    return head + body


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_is_a_400_that_repeats_nothing_of_it(sent, caplog):
    caplog.set_level("DEBUG")
    answer = await answer_to(sent)
    assert b" 400 Bad Request" in answer.splitlines()[0]
    assert b"secret" not in answer
    assert "was no HTTP" in caplog.text
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ("a header value", "the request is no HTTP (BadHttpMessage)"),
        ("a long header", "a line of the request or of its headers is too long"),
        ("brotli", "the request's Content-Encoding is not supported; send its body as it is, or by gzip, deflate or zstd"),
    ],
)
async def test_why_it_is_none_is_a_sentence(sent, sentence):
    brotli = POST + b"Content-Encoding: br\r\nContent-Length: 6\r\n\r\nsecret"
    answer = await answer_to(MALFORMED.get(sent, brotli))
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": sentence}


@pytest.mark.parametrize(("path", "where"), [("/api/chat", ["error"]), ("/v1/chat/completions", ["error", "message"])])
async def test_a_body_that_is_not_what_its_headers_say_is_told_in_the_familys_shape(http, path, where):
    async with serving() as served, http.post(served.url + path, data=b"secret", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400
        told = await response.json()
    for key in where:
        told = told[key]
    assert "Content-Encoding" in told
    assert "secret" not in told
