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
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}}}]
CHOICE = {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True, "reasoning_effort": "low"}
TEMPLATE = "{% if tools %}<tool_call></tool_call>{% endif %}</think>{{ messages }}"
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
    "/api/chat": {
        "model": "m",
        "messages": MESSAGES,
        "stream": False,
        "options": OPTIONS,
        "think": False,
        "tools": TOOLS,
        "logprobs": True,
    },
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
    "/v1/chat/completions": {**COMMON, "messages": MESSAGES, "n": 2, "max_tokens": 2, "stream_options": {"include_usage": True}, **CHOICE},
    "/v1/completions": {**COMMON, "prompt": [[1, 2], [3]], "logprobs": 1, "max_tokens": 2, "suffix": None, "top_p": 0.5},
}
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "h"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": False}]},
]
EXAMPLES["/v1/messages"] = {
    "model": "m", "max_tokens": 2, "messages": BLOCKS, "system": "s", "stream": False, "temperature": 0, "stop_sequences": ["x"],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 9}, "output_config": {"effort": "low"},
}  # fmt: skip
EXAMPLES["/v1/messages/count_tokens"] = {"model": "m", "messages": BLOCKS, "system": [{"type": "text", "text": "s"}]}
EXAMPLES["/v1/responses"] = {
    "model": "m", "max_output_tokens": 2, "instructions": "s", "stream": False, "temperature": 0, "reasoning": {"effort": "low"},
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "h"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "auto", "store": False,
    "text": {"format": {"type": "text"}}, "truncation": "auto",
}  # fmt: skip
EXAMPLES["/tokenize"] = {"model": "m", "messages": MESSAGES, "add_special_tokens": True}
EXAMPLES["/detokenize"] = {"model": "m", "tokens": [1, 2]}
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
        small_store.put(Path(folder), small_gguf.make(tokenizer__chat_template=TEMPLATE), "m")
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
