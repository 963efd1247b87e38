"""Calls that are demanded, and formats beside tools and thoughts, of a real vLLM: what it writes reads back as asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import vllms

MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
LIGHT = {
    "type": "object",
    "properties": {"room": {"enum": ["hall", "kitchen"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["room", "level"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": name, "description": "d", "parameters": LIGHT}} for name in ("set_light", "get_light")]
ANSWER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
MESSAGES = [{"role": "user", "content": "Light in the hall, please"}]


@pytest.fixture(scope="module")
def like_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama that has Qwen 3's template and its markers: it calls, and it thinks."""
    vllms.python()
    return vllms.taught(tmp_path_factory.mktemp("qwen") / "like-qwen", "Qwen-Qwen3-0.6B.jinja", MARKERS)


@pytest.fixture(scope="module")
def agent(start: Any, like_qwen: Path) -> Iterator[Any]:
    made = vllms.serve(start, seconds=vllms.START_SECONDS, model=like_qwen)
    yield made
    made.process.terminate()
    made.process.wait(30)


def chat(agent: Any, **body: Any) -> dict[str, Any]:
    asked = {"model": agent.model, "messages": MESSAGES, "tools": TOOLS, "reasoning_effort": "none", "temperature": 1.5, **body}
    answer = httpx.post(f"{agent.url}/v1/chat/completions", json={"max_tokens": 400, **asked}, timeout=120)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def check_call(choice: dict[str, Any], names: set[str]) -> None:
    [call] = choice["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert call["function"]["name"] in names
    assert set(arguments) == {"room", "level"}
    assert arguments["room"] in ("hall", "kitchen")
    assert arguments["level"] in range(10)
    assert not choice["message"]["content"]
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("seed", range(3))
def test_a_demanded_call_is_made(agent: Any, seed: int) -> None:
    check_call(chat(agent, tool_choice="required", parallel_tool_calls=False, seed=seed), {"set_light", "get_light"})


@pytest.mark.parametrize("name", ["set_light", "get_light"])
def test_a_named_tool_is_called_and_no_other(agent: Any, name: str) -> None:
    named = {"type": "function", "function": {"name": name}}
    check_call(chat(agent, tool_choice=named, parallel_tool_calls=False), {name})


def test_beside_tools_an_answer_is_in_the_format_or_a_call(agent: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": ANSWER}}
    for seed in range(4):
        choice = chat(agent, response_format=wanted, parallel_tool_calls=False, seed=seed)
        if choice["message"].get("tool_calls"):
            check_call(choice, {"set_light", "get_light"})
        else:
            assert set(json.loads(choice["message"]["content"])) == {"ok"}


@pytest.mark.parametrize("demanded", ["a format", "a call"])
def test_what_is_demanded_comes_after_a_thought(agent: Any, like_qwen: Path, demanded: str) -> None:
    """The thought is free; its beginning is made likelier than any text, and its end as likely, so that it comes."""
    known = vllms.vocabulary(like_qwen)
    biased = {str(known["<think>"]): 20, str(known["</think>"]): 5}
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": ANSWER}}, "tools": None}
    body = wanted if demanded == "a format" else {"tool_choice": "required", "parallel_tool_calls": False}
    thoughts = []
    for seed in range(6):
        choice = chat(agent, reasoning_effort="high", logit_bias=biased, seed=seed, **body)
        thoughts.append(choice["message"].get("reasoning"))
        if demanded == "a format":
            assert set(json.loads(choice["message"]["content"])) == {"ok"}
        else:
            check_call(choice, {"set_light", "get_light"})
    assert any(thoughts)


def test_anthropics_any_makes_it_call(agent: Any) -> None:
    tools = [{"name": "set_light", "description": "d", "input_schema": LIGHT}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    body = {"model": agent.model, "messages": MESSAGES, "tools": tools, "max_tokens": 400, "tool_choice": choice}
    answer = httpx.post(f"{agent.url}/v1/messages", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    assert [block["type"] for block in answer.json()["content"]] == ["tool_use"]
    assert answer.json()["stop_reason"] == "tool_use"


def test_a_schema_that_the_engine_cannot_keep_to_is_refused_by_the_field(agent: Any) -> None:
    broken = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}}
    asked = {"model": agent.model, "messages": MESSAGES, "tools": [broken], "tool_choice": "required"}
    answer = httpx.post(f"{agent.url}/v1/chat/completions", json=asked, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("tool_choice cannot be honoured")


def test_tokens_are_those_of_the_models_tokenizer(agent: Any, like_qwen: Path) -> None:
    """As transformers makes them, which reads the model's files itself."""
    script = "import sys, json, transformers; t = transformers.AutoTokenizer.from_pretrained(sys.argv[1]); " + (
        "print(json.dumps([[t.encode(x), t.encode(x, add_special_tokens=False)] for x in json.load(sys.stdin)]))"
    )
    texts = ["the weather in Paris", "Zürich \U0001f600\n\tx", "a</s>b"]
    run = subprocess.run(
        [vllms.python(), "-c", script, like_qwen],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for text, (special, bare) in zip(texts, json.loads(run.stdout), strict=True):
        for body, wanted in (({"prompt": text}, special), ({"content": text}, bare)):
            found = httpx.post(f"{agent.url}/tokenize", json={"model": agent.model, **body}, timeout=60).json()
            assert (found["tokens"], found["count"]) == (wanted, len(wanted))
        whole = httpx.post(f"{agent.url}/detokenize", json={"model": agent.model, "tokens": bare}, timeout=60).json()
        assert whole["content"] == text.replace("</s>", "").lstrip(" ")


def test_a_chat_counts_as_many_tokens_as_its_prompt_has(agent: Any) -> None:
    chat_ = {"model": agent.model, "messages": MESSAGES}
    counted = httpx.post(f"{agent.url}/v1/messages/count_tokens", json=chat_, timeout=60).json()["input_tokens"]
    asked = httpx.post(f"{agent.url}/v1/messages", json={**chat_, "max_tokens": 1}, timeout=60).json()["usage"]
    assert counted == asked["input_tokens"] + asked["cache_read_input_tokens"]
    assert httpx.post(f"{agent.url}/tokenize", json=chat_, timeout=60).json()["count"] > 0
