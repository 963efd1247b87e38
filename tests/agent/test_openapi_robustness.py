"""Requests beyond the description: each is answered as described, never by a defect of ours, and what is accepted is described."""

import copy
import functools
import json
import operator
import tempfile
from pathlib import Path

import aiohttp
import orjson
import pytest
import small_gguf
import small_store
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vllama_agent.openapi import document as openapi
from vllama_agent.server.routes import ROUTES
from vllama_agent.store import Store
from vllama_agent.testing import serving

DOCUMENT = json.loads(orjson.dumps(openapi.document((route.operation for route in ROUTES), version="1")))
CALLS = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}]
MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": CALLS}, {"role": "tool", "content": "1"}]
COMMON = {"model": "m", "stream": False, "logprobs": True, "top_logprobs": 2, "stop": ["x"], "seed": 1, "logit_bias": {"5": 1.5}}
OPTIONS = {"num_predict": 2, "temperature": 0, "stop": ["x"], "logit_bias": {"5": 1}, "num_gpu": 1, "use_mmap": True}
EXAMPLES = {
    "/api/generate": {
        "model": "m",
        "prompt": "hi",
        "stream": True,
        "keep_alive": "5m",
        "options": {**OPTIONS, "other": 1},
        "context": [1],
        "format": "",
    },
    "/api/chat": {"model": "m", "messages": MESSAGES, "stream": False, "options": OPTIONS, "think": False, "tools": [], "logprobs": True},
    "/api/show": {"model": "m", "name": "m", "verbose": False},
    "/api/pull": {"model": "n", "stream": False, "insecure": True},
    "/api/create": {
        "model": "n",
        "from": "m",
        "files": {},
        "template": "{{ messages }}",
        "system": "Be brief.",
        "parameters": {**OPTIONS, "stop": "x", "numa": 1},
        "messages": MESSAGES,
        "license": ["MIT"],
        "stream": False,
    },
    "/api/copy": {"source": "m", "destination": "n"},
    "/api/delete": {"name": "m", "model": "m"},
    "/v1/chat/completions": {**COMMON, "messages": MESSAGES, "n": 2, "max_tokens": 2, "stream_options": {"include_usage": True}},
    "/v1/completions": {**COMMON, "prompt": [[1, 2], [3]], "logprobs": 1, "max_tokens": 2, "suffix": None, "top_p": 0.5},
}
ODD = [
    None,
    True,
    False,
    0,
    -1,
    -2,
    0.5,
    1e300,
    -1e300,
    2**31,
    2**63,
    "",
    "0",
    "x",
    " ",
    "5m",
    "\0",
    "é" * 50,
    [],
    [[]],
    {},
    [None],
    {"": None},
]
json_values = st.recursive(
    st.sampled_from(ODD) | st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """Paths of everything in a value, itself included."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


@st.composite
def bodies(draw, example, known):
    """The example with up to three things in it replaced, left out or added."""
    body = copy.deepcopy(example)
    for _ in range(draw(st.integers(1, 3))):
        changeable = [place for place in places(body) if place and place != ("model",)]
        match draw(st.sampled_from(["add", "replace", "replace", "remove"])) if changeable else "add":
            case "add":
                body[draw(st.sampled_from(known))] = copy.deepcopy(draw(json_values))
            case change:
                *path, last = draw(st.sampled_from(changeable))
                holder = functools.reduce(operator.getitem, path, body)
                if change == "remove":
                    del holder[last]
                else:
                    holder[last] = copy.deepcopy(draw(json_values))
    return body


def is_valid(schema, value):
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]}).is_valid(value)


@pytest.mark.parametrize("path", EXAMPLES)
@settings(max_examples=100)
@given(data=st.data())
async def test_odd_bodies_are_answered_as_described(path, data):
    ((method, described),) = DOCUMENT["paths"][path].items()
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    known = sorted(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])
    body = data.draw(bodies(EXAMPLES[path], [name for name in known if name != "model"]))
    with tempfile.TemporaryDirectory() as folder:
        small_store.put(Path(folder), small_gguf.make(), "m")
        async with (
            serving(home=Path(folder), store=Store(Path(folder))) as served,
            aiohttp.ClientSession() as http,
            http.request(method, served.url + path, data=orjson.dumps(body)) as response,
        ):
            assert str(response.status) in described["responses"]
            assert response.status < 500
            text = await response.text()
    answer = described["responses"][str(response.status)]
    if "content" not in answer:
        assert not text
    else:
        content = answer["content"][response.content_type]
    if text and response.content_type == "application/json":
        assert is_valid(content["schema"], json.loads(text))
    if response.status == 200:
        assert is_valid(schema, body), "it was accepted, but the description says that it is wrong"
