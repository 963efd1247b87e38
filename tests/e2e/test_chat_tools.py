"""Tools and thinking through the whole of the installed agent. The model's weights are random, so what it says means nothing: that it is
asked and answered in the right shapes is what is seen here. What answers mean: tests/agent/test_tools_and_thinking.py.
"""

from __future__ import annotations

import chats
import ollama
import openai
import pytest


@pytest.fixture(scope="module")
def agent(start):
    return start().with_thinker()


def test_ollama_offers_tools(agent) -> None:
    with ollama.Client(host=agent.url) as client:
        assert set(client.show("thinker").capabilities) >= {"tools", "thinking"}
        answer = client.chat("thinker", [chats.USER], tools=chats.TOOLS, think=False, options={"num_predict": 5})
        assert answer.eval_count == 5
        pieces = list(client.chat("thinker", [chats.USER, chats.ONE_CALL, chats.RESULTS[0]], tools=chats.TOOLS, stream=True,
                                  options={"num_predict": 5}))  # fmt: skip
        assert pieces[-1].done
        with pytest.raises(ollama.ResponseError, match="does not support tools"):
            client.chat(agent.model, [chats.USER], tools=chats.TOOLS)


def test_openai_offers_tools(agent) -> None:
    with openai.OpenAI(base_url=f"{agent.url}/v1", api_key="unused") as client:
        answer = client.chat.completions.create(model="thinker", messages=[chats.USER], tools=chats.TOOLS, max_completion_tokens=5)
        assert answer.usage.completion_tokens == 5
        stream = client.chat.completions.create(
            model="thinker", messages=[chats.USER], tools=chats.TOOLS, reasoning_effort="low", max_completion_tokens=5, stream=True
        )
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"
        with pytest.raises(openai.BadRequestError, match="does not support thinking"):
            client.chat.completions.create(model=agent.model, messages=[chats.USER], reasoning_effort="high")


def test_the_prompt_shows_the_tools(agent) -> None:
    body = {"model": "thinker", "messages": [chats.USER], "tools": chats.TOOLS, "think": False, "_debug_render_only": True}
    prompt = agent.client.post("/api/chat", json=body).json()["_debug_info"]["rendered_template"]
    assert '{"type": "function", "function": {"name": "get_weather"' in prompt
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
