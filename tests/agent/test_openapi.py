"""The description of the API says what is served, no more and no less."""

import hashlib
import json

import orjson
import pytest
import small_gguf
import small_store
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from vllama_agent.openapi import document as openapi
from vllama_agent.server import make_app, make_service
from vllama_agent.server.gate import PROBES
from vllama_agent.server.routes import ROUTES
from vllama_agent.store import Store
from vllama_agent.testing import FakeEngine, FakeStore, serving
from vllama_core.config import AgentConfig

HI = [{"role": "user", "content": "hi"}]
CALLED = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.fixture(scope="module")
def document():
    described = openapi.document((route.operation for route in ROUTES), version="1.2.3")
    return json.loads(orjson.dumps(described))


def test_it_is_a_valid_openapi_document(document):
    validate(document, cls=OpenAPIV31SpecValidator)
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


async def test_every_route_and_method_is_described_and_nothing_else(document):
    service = make_service(AgentConfig(), store=FakeStore("m"), make_engine=lambda *_: FakeEngine())
    routes = {(route.resource.canonical, route.method) for route in make_app(service).router.routes()}
    assert routes == {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}


def test_only_probes_are_said_to_need_no_key(document):
    open_paths = {path for path, methods in document["paths"].items() for operation in methods.values() if operation.get("security") == []}
    assert open_paths == PROBES
    assert document["security"] == [{"bearer": []}]


async def test_it_needs_a_key_like_any_other_route(http, tmp_path):
    (tmp_path / "keys").write_text("alpha\n")
    async with serving(api_key_file=tmp_path / "keys") as served:
        async with http.get(served.url + "/openapi.json") as response:
            assert response.status == 401
        async with http.get(served.url + "/openapi.json", headers={"Authorization": "Bearer alpha"}) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert (await response.json())["info"]["version"] == served.service.version


def operation(document, method, path):
    described = {"/v1/models/": "/v1/models/{id}", "/v1/responses/": "/v1/responses/{id}", "/api/blobs/": "/api/blobs/{digest}"}
    known = next((pattern for start, pattern in described.items() if path.startswith(start)), path)
    return document["paths"][known][method.lower()]


def check(document, schema, value):
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


ASKED = [
    ("GET", "/api/version", None),
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("GET", "/api/status", None),
    ("GET", "/api/experimental/model-recommendations", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/m", None),
    ("GET", "/v1/models/none", None),
    ("GET", "/load", None),
    ("GET", "/openapi.json", None),
    ("POST", "/api/show", {"name": "m", "verbose": True}),
    ("POST", "/api/show", {"model": "none"}),
    ("POST", "/api/generate", {"model": "m"}),
    ("POST", "/api/generate", {"model": "m", "keep_alive": "5m", "prompt": "hi", "stream": False, "logprobs": True, "top_logprobs": 2}),
    ("POST", "/api/generate", {"model": "m", "prompt": "hi", "options": {"num_predict": 3, "stop": ["x"], "num_gpu": 1, "seed": None}}),
    ("POST", "/api/generate", {"model": "m", "prompt": "hi", "_debug_render_only": True}),
    ("POST", "/api/chat", {"model": "m", "messages": HI, "tools": [], "format": "", "think": False, "logprobs": True}),
    ("POST", "/api/chat", {"model": "m", "messages": [*HI, {"role": "assistant", "tool_calls": CALLED}], "stream": False}),
    ("POST", "/api/embed", {}),
    ("POST", "/api/push", {}),
    ("POST", "/api/pull", {"model": "none", "stream": False}),
    ("POST", "/api/create", {"model": "n", "from": "m", "system": "Be brief.", "parameters": {"stop": "x"}, "stream": False}),
    ("POST", "/api/create", {"model": "n", "from": "m", "template": "{{ messages }}", "messages": HI, "license": ["MIT"]}),
    ("POST", "/api/create", {"model": "n", "files": {"m.gguf": f"sha256:{'a' * 64}"}}),
    ("POST", "/api/copy", {"source": "m", "destination": "n"}),
    ("POST", "/api/copy", {"source": "none", "destination": "n"}),
    ("DELETE", "/api/delete", {"model": "m"}),
    ("DELETE", "/api/delete", {"model": "none"}),
    ("HEAD", f"/api/blobs/sha256:{'a' * 64}", None),
    ("HEAD", "/api/blobs/none", None),
    ("POST", "/api/blobs/none", None),
    ("POST", f"/api/blobs/sha256:{'a' * 64}", None),
    ("POST", f"/api/blobs/sha256:{hashlib.sha256(b'').hexdigest()}", None),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": HI, "n": 2, "logprobs": True, "top_logprobs": 1}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": [*HI, {"role": "assistant", "content": None, "tool_calls": CALLED}]}),
    ("POST", "/v1/chat/completions", {"model": "none", "messages": HI}),
    ("POST", "/v1/completions", {"model": "m", "prompt": ["a", "b"], "logprobs": 1, "stop": "x", "logit_bias": {"5": 1}}),
    ("POST", "/v1/completions", {"model": "m", "prompt": [[1], [2]], "stream": True, "logprobs": 0}),
    ("POST", "/v1/messages", {"model": "m", "max_tokens": 5, "messages": HI, "system": "s", "top_k": 3}),
    ("POST", "/v1/messages", {"model": "m", "max_tokens": 5, "messages": HI, "stream": True, "stop_sequences": ["x"]}),
    ("POST", "/v1/messages", {"model": "none", "max_tokens": 5, "messages": HI}),
    ("POST", "/v1/messages/count_tokens", {"model": "m", "messages": HI}),
    ("POST", "/v1/messages/count_tokens", {"model": "none", "messages": HI}),
    ("POST", "/v1/embeddings", {}),
    ("POST", "/v1/responses", {"model": "m", "input": "hi", "max_output_tokens": 3, "text": {"format": {"type": "text"}}}),
    ("POST", "/v1/responses", {"model": "m", "input": HI, "stream": True, "instructions": "s", "tools": [{"type": "web_search"}]}),
    ("POST", "/v1/responses", {"model": "none", "input": "hi"}),
    ("GET", "/v1/responses/none", None),
    ("DELETE", "/v1/responses/none", None),
    ("POST", "/tokenize", {"model": "m", "prompt": "hi"}),
    ("POST", "/tokenize", {"model": "m", "messages": HI, "add_special_tokens": True}),
    ("POST", "/tokenize", {"model": "none", "content": "hi"}),
    ("POST", "/detokenize", {"model": "m", "tokens": [104, 105]}),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED, ids=lambda value: value if isinstance(value, str) else "")
async def test_requests_and_replies_are_as_described(http, document, tmp_path, method, path, body):
    described = operation(document, method, path)
    if body is not None and "requestBody" in described:
        check(document, described["requestBody"]["content"]["application/json"]["schema"], body)
    small_store.put(tmp_path, small_gguf.make(), "m")
    async with serving(home=tmp_path, store=Store(tmp_path)) as served:
        async with http.post(served.url + "/api/generate", json={"model": "m"}):
            pass  # so that /api/ps and /load have something to tell
        async with http.request(method, served.url + path, json=body) as response:
            answer = described["responses"][str(response.status)]
            text = await response.text()
    if "content" not in answer:
        assert not text
        return
    content = answer["content"][response.content_type]
    schema = content["schema"]
    if response.content_type == "text/event-stream":
        events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.split("\n\n") if event]
        assert events
        for event in events:
            check(document, schema, event)
            check_data(document, schema["properties"]["data"], event["data"])
    elif response.content_type == "application/x-ndjson":
        check(document, schema, text)
        assert text
        for line in text.splitlines():
            check(document, content[openapi.ITEM], json.loads(line))
    else:
        check(document, schema, json.loads(text))


def check_data(document, schema, data):
    """JSON as the schema has it, or what the schema says the stream ends with: `contentSchema` is a note, and validators leave it."""
    described, *end = schema.get("anyOf", [schema])
    if not any(data == last["const"] for last in end):
        check(document, described["contentSchema"], json.loads(data))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("GenerateRequest", {"prompt": "hi"}),
        ("GenerateRequest", {"model": "m", "options": {"top_p": 2}}),
        ("GenerateRequest", {"model": "m", "keep_alive": "300"}),
        ("GenerateRequest", {"model": "m", "format": "yaml"}),
        ("ChatRequest", {"model": "m", "messages": [{"role": "robot"}]}),
        ("ShowRequest", {"verbose": True}),
        ("PullRequest", {"insecure": True}),
        ("CreateRequest", {"model": "n"}),
        ("CreateRequest", {"model": "n", "from": "m", "files": {"m.gguf": f"sha256:{'a' * 64}"}}),
        ("CreateRequest", {"model": "n", "from": "m", "parameters": {"top_q": 1}}),
        ("CreateRequest", {"model": "n", "files": {"m.gguf": "a" * 64}}),
        ("CopyRequest", {"source": "m"}),
        ("ChatCompletionRequest", {"model": "m", "messages": []}),
        ("ChatCompletionRequest", {"model": "m", "messages": [{"role": "user"}]}),
        ("ChatCompletionRequest", {"model": "m", "messages": HI, "n": 0}),
        ("CompletionRequest", {"model": "m"}),
        ("MessagesRequest", {"model": "m", "messages": HI}),
        ("ResponseRequest", {"model": "m"}),
        ("ResponseRequest", {"model": "m", "input": [{"type": "item_reference", "id": "x"}]}),
        ("TokenizeRequest", {"model": "m"}),
        ("TokenizeRequest", {"model": "m", "prompt": "a", "content": "b"}),
        ("MessagesRequest", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image"}]}]}),
    ],
)
def test_what_is_refused_is_described_as_wrong(document, schema, value):
    with pytest.raises(ValidationError):
        check(document, {"$ref": f"#/components/schemas/{schema}"}, value)
