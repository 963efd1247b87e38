"""No request makes the server fetch an address: whatever may hold one is refused or taken as words."""

import asyncio

import pytest

from vllama_agent.testing import serving

URL = "http://127.0.0.1:{port}/x"


def image(url):
    return [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]


REQUESTS = [
    ("/v1/chat/completions", lambda url: {"model": "m", "messages": [{"role": "user", "content": image(url)}]}),
    ("/v1/chat/completions", lambda url: {"model": "m", "messages": [{"role": "user", "content": url}]}),
    ("/v1/chat/completions", lambda url: {"model": url, "messages": [{"role": "user", "content": "hi"}]}),
    (
        "/v1/chat/completions",
        lambda url: {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": url}}},
        },
    ),
    ("/v1/completions", lambda url: {"model": "m", "prompt": url, "suffix": url}),
    ("/api/generate", lambda url: {"model": "m", "prompt": "hi", "images": [url]}),
    ("/api/generate", lambda url: {"model": url, "prompt": "hi"}),
    ("/api/generate", lambda url: {"model": "m", "prompt": "hi", "format": {"$ref": url, "$schema": url}}),
    ("/api/generate", lambda url: {"model": "m", "prompt": "hi", "template": "{% include '" + url + "' %}"}),
    ("/api/chat", lambda url: {"model": "m", "messages": [{"role": "user", "content": "hi", "images": [url]}]}),
    ("/api/show", lambda url: {"model": url}),
    ("/v1/messages", lambda url: {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": url}}]}]}),
    ("/v1/responses", lambda url: {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_an_address_in_a_request_is_not_fetched(http, path, body):
    asked = []

    async def note(_, writer):
        asked.append(path)
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as listener, serving() as served:
        url = URL.format(port=listener.sockets[0].getsockname()[1])
        async with http.post(served.url + path, json=body(url)) as response:
            assert response.status in (200, 400, 404, 501)
            await response.read()
        assert asked == []
