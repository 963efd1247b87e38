"""Tools in the text helper and the worker, with real vocabularies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import chats
import pytest

import llama_sdist  # it lies in tools/
import tiny_gguf
from vllama_agent.chat import families
from vllama_agent.chat.events import Begun
from vllama_agent.engines.base import GenerateRequest, Message, Reading, Sampling
from vllama_agent.engines.llama_cpp import lib
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.engines.llama_cpp.text import Vocabulary
from vllama_core.config import LoadConfig

MODELS = llama_sdist.llama_cpp() / "models"
QWEN = (MODELS / "templates" / "Qwen-Qwen3-0.6B.jinja").read_text()
LLAMA = (MODELS / "templates" / "meta-llama-Llama-3.1-8B-Instruct.jinja").read_text()


@pytest.mark.parametrize(
    ("file", "family", "thought", "texts"),
    [
        (lambda: tiny_gguf.ensure("llama-3.1"), "llama3", None, {b"<|python_tag|>"}),
        (lambda: MODELS / "ggml-vocab-phi-3.gguf", "harmony", None, {b"<|end|>"}),
        (lambda: MODELS / "ggml-vocab-gemma-4.gguf", "gemma4", "gemma4", set()),
        (lambda: MODELS / "ggml-vocab-bert-bge.gguf", "deepseek", "think", set()),
    ],
)
def test_the_control_tokens_of_a_markup_are_found(file: Callable[[], Path], family: str, thought: str | None, texts: set[bytes]) -> None:
    """Those, and no other: what is a token like any other is shown anyway, and the unknown token is part of no markup."""
    lib.start(lambda _line: None)
    assert set(Vocabulary((file(),)).control_tokens(families.named(family, thought)).values()) == texts


@asynccontextmanager
async def loaded(model: str) -> AsyncIterator[LlamaCppEngine]:
    made = LlamaCppEngine(files=[tiny_gguf.ensure(model)], config=LoadConfig(ctx_size=2048, kv_cells=8192, parallel=2), load_timeout=60)
    await made.load()
    try:
        yield made
    finally:
        await made.unload()


def asked(template: str, **more: Any) -> GenerateRequest:
    fields = {"tools": (chats.WEATHER,), "sampling": Sampling(temperature=0), **more}
    return GenerateRequest(messages=(Message(role="user", content="Hi"),), template=template, max_tokens=3, **fields)


async def test_tools_and_thinking_reach_the_model() -> None:
    async with loaded("qwen2") as engine:
        thinking, told_not_to = await engine.render(asked(QWEN)), await engine.render(asked(QWEN, think=False))
        assert '"name": "get_weather"' in thinking
        assert thinking.endswith("<|im_start|>assistant\n")
        assert told_not_to == thinking + "<think>\n\n</think>\n\n"
        async with engine.generate(asked(QWEN)) as generation:
            assert generation.reading == Reading(family="qwen", thought="think", begun=Begun.NOT)
            assert len(generation.prompt_tokens) == len(await engine.tokenize(thinking))
            assert [delta.finish async for delta in generation][-1] is not None


async def test_a_marker_that_is_a_control_token_is_shown_where_tools_are_offered() -> None:
    """The model is made to write Llama's; in other answers it stays out of the text."""
    async with loaded("llama-3.1") as engine:
        [token] = await engine.tokenize("<|python_tag|>", add_special=False)
        only = Sampling(temperature=0, logit_bias=((token, 100.0),))
        async with engine.generate(asked(LLAMA, sampling=only)) as generation:
            assert "".join([delta.text async for delta in generation]) == "<|python_tag|>" * 3
        async with engine.generate(asked(LLAMA, sampling=only, tools=())) as generation:
            assert generation.reading == Reading(family=None, thought=None)
            assert "".join([delta.text async for delta in generation]) == ""
