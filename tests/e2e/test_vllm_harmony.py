"""gpt-oss's markup over a real vLLM: its chats are sent as ids, and what comes back is read by the agent and not by vLLM.

gpt-oss itself is too large: a tiny Llama stands in for it that has its template, and its markers among its tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import vllms

from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Begun, Text

TEMPLATE = "openai-gpt-oss-120b.jinja"
MARKERS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
WORD = "\u2581the"


@pytest.fixture(scope="module")
def like_gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vllms.python()
    return vllms.taught(tmp_path_factory.mktemp("harmony") / "like-gpt-oss", TEMPLATE, MARKERS)


def test_its_markers_come_back_as_text_and_are_read_by_the_agent(start: Any, like_gpt_oss: Path) -> None:
    agent = vllms.serve(start, seconds=240, model=like_gpt_oss)
    vocabulary = vllms.vocabulary(like_gpt_oss)
    forced = {str(vocabulary[text]): 100 for text in ("<|channel|>", "<|message|>", "<|end|>", WORD)}
    body = {
        "model": agent.model,
        "messages": [{"role": "user", "content": "the weather"}],
        "stream": False,
        "logprobs": True,
        "options": {"num_predict": 64, "temperature": 1.0, "seed": 1, "logit_bias": forced},
    }
    answer = agent.client.post("/api/chat", json=body).json()
    said = "".join(token["token"] for token in answer["logprobs"])
    assert answer["eval_count"] == len(answer["logprobs"]) == 64
    assert all(marker in said for marker in ("<|channel|>", "<|message|>", "<|end|>")), said
    harmony = families.of((like_gpt_oss / "chat_template.jinja").read_text(), None)
    parser = parsers.make(harmony, [], Begun.NOT)
    assert parser is not None
    expected = "".join(event.text for event in parsers.read(parser, said) if isinstance(event, Text))
    assert expected
    assert answer["message"]["content"].replace(" ", "") == expected.replace(" ", "")
