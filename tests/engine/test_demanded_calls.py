"""Calls that are demanded, and formats beside thoughts and tools, of the real engine: what the models write reads back as asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

import llama_sdist  # it lies in tools/
import tiny_gguf
from vllama_agent.apis import parts
from vllama_agent.chat.events import Begun
from vllama_agent.engines.base import Constraint, ConstraintKind, GenerateRequest, Message, Reading, Sampling
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_core.config import LoadConfig
from vllama_core.errors import InvalidRequest

TEMPLATES = llama_sdist.llama_cpp() / "models" / "templates"
QWEN, CODER, LLAMA, MISTRAL, GEMMA = (
    (TEMPLATES / f"{name}.jinja").read_text()
    for name in (
        "Qwen-Qwen3-0.6B",
        "Qwen3-Coder",
        "meta-llama-Llama-3.1-8B-Instruct",
        "mistralai-Mistral-Nemo-Instruct-2407",
        "google-gemma-4-31B-it",
    )
)
LIGHT = {
    "type": "object",
    "properties": {"room": {"enum": ["hall", "kitchen"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["room", "level"],
}
NOTE = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 9}}, "required": ["text"]}
SCHEMAS = {"set_light": LIGHT, "note": NOTE}
TOOLS = tuple({"type": "function", "function": {"name": name, "description": "d", "parameters": value}} for name, value in SCHEMAS.items())
ANSWER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
FORMAT = Constraint(kind=ConstraintKind.JSON_SCHEMA, text=json.dumps(ANSWER), field="format")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["demo", "llama-3.1"])
async def engine(request: pytest.FixtureRequest, demo_model: Path) -> AsyncIterator[LlamaCppEngine]:
    """A real model whose vocabulary spells markers as text, and a tiny one that has them as control tokens."""
    file = demo_model if request.param == "demo" else tiny_gguf.ensure(request.param)
    loaded = LlamaCppEngine(files=(file,), config=LoadConfig(ctx_size=2048, kv_cells=8192, parallel=4), load_timeout=120)
    await loaded.load()
    yield loaded
    await loaded.unload()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def asked(template: str, **more: Any) -> GenerateRequest:
    chosen = {"tools": TOOLS, "sampling": Sampling(seed=3), "max_tokens": 300, "parallel_calls": False, "think": False, **more}
    return GenerateRequest(messages=(Message(role="user", content="Light in the hall, please"),), template=template, **chosen)


async def answer(engine: LlamaCppEngine, request: GenerateRequest) -> tuple[parts.Whole, Reading]:
    async with engine.generate(request) as generation:
        split, whole = parts.of(request, generation.reading), parts.Whole()
        assert split is not None
        assert generation.reading is not None
        async for delta in generation:
            whole.add(split.split(delta))
    return whole, generation.reading


def check(whole: parts.Whole, names: tuple[str, ...]) -> None:
    [call] = whole.calls
    assert call.name in names
    jsonschema.validate(call.arguments, SCHEMAS[call.name])
    assert not whole.text


@pytest.mark.parametrize("template", [QWEN, CODER, LLAMA, MISTRAL, GEMMA], ids=["qwen", "qwen3-coder", "llama3", "mistral", "gemma4"])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=1.5, seed=5)], ids=["greedy", "hot"])
async def test_a_demanded_call_is_made_in_the_familys_own_way(engine: LlamaCppEngine, template: str, sampling: Sampling) -> None:
    tools = TOOLS[:1] if template in (CODER, GEMMA) else TOOLS  # a text between tags has no bound that a random model would come to
    whole, _ = await answer(engine, asked(template, sampling=sampling, tools=tools, must_call=tuple(SCHEMAS)[: len(tools)]))
    check(whole, tuple(SCHEMAS))


async def test_a_named_tool_is_called_and_no_other(engine: LlamaCppEngine) -> None:
    for name in SCHEMAS:
        check((await answer(engine, asked(QWEN, must_call=(name,))))[0], (name,))


async def test_with_log_probabilities_every_token_of_a_call_has_one(engine: LlamaCppEngine) -> None:
    request = asked(QWEN, must_call=("set_light",), logprobs=True, top_logprobs=1)
    async with engine.generate(request) as generation:
        async for delta in generation:
            assert len(delta.logprobs or ()) == len(delta.token_ids)


async def test_a_format_holds_after_the_thought(engine: LlamaCppEngine) -> None:
    """The thought is free, and long enough to be seen; it is ended by making its end the only likely token."""
    end = await engine.tokenize("</think>", add_special=False)
    if len(end) > 1:
        pytest.skip("this vocabulary spells the end as several tokens, which no bias brings into order")
    biased = Sampling(temperature=0, logit_bias=tuple((token, 30.0) for token in end))
    opened = Message(role="assistant", content="", extra={"thinking": "The hall,"})
    request = asked(QWEN, constraint=FORMAT, tools=(), think=True, sampling=biased)
    whole, reading = await answer(engine, replace(request, messages=(*(request.messages or ()), opened)))
    assert reading.begun is Begun.THOUGHT
    assert reading.verbatim
    jsonschema.validate(json.loads(whole.text), ANSWER)


async def test_beside_tools_an_answer_is_in_the_format_or_a_call(engine: LlamaCppEngine) -> None:
    for seed in range(6):
        whole, _ = await answer(engine, asked(QWEN, constraint=FORMAT, sampling=Sampling(temperature=2, seed=seed)))
        if whole.calls:
            check(whole, tuple(SCHEMAS))
        else:
            jsonschema.validate(json.loads(whole.text), ANSWER)


async def test_what_cannot_be_demanded_is_refused_by_its_field(engine: LlamaCppEngine) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    distinct = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(InvalidRequest, match="unsupported keywords in a tool's parameters: uniqueItems") as caught:
        await answer(engine, asked(GEMMA, tools=(distinct,), must_call=("f",)))
    assert caught.value.field == "tool_choice"
