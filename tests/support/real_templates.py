"""The chat templates that llama.cpp's source holds, and what a model that learnt from one of them would write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import chats

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import llama_sdist
from vllama_agent.chat import families, history, parsers, templates
from vllama_agent.chat.events import Begun

FILES = sorted((llama_sdist.llama_cpp() / "models" / "templates").glob("*.jinja"))
UNSEEN = {"LFM2-8B-A1B", "LFM2.5-Instruct", "ibm-granite-granite-3.3-2B-Instruct", "CohereForAI-c4ai-command-r-plus-tool_use"}
"""They leave calls of earlier turns out of the prompt, or put instructions behind them."""
READABLE = [file for file in FILES if families.of(file.read_text()).family and file.stem not in UNSEEN]
ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<EOS>", "<seed:eos>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|message_sep|>", "<end_of_sentence>", "[e~[", "<SPECIAL_12>", "<|end|>", "<sep>", "<turn|>", "<|tool_response>", "<|end_of_text|>",
    "<|role_end|>", "<｜end▁of▁sentence｜>", "</assistant>", "<|call|>", "<|assistant_end|>",
    "<|start_header_id|>assistant<|end_header_id|>",
)  # fmt: skip
"""What stands behind an answer; a model's generation ends before it."""


def rendered(file: Path, chat: list[dict[str, Any]], **chosen: Any) -> str:
    """A prompt of ours."""
    source = file.read_text()
    wanted = templates.Chat(messages=chat, tools=chats.TOOLS, ids=ids(file), **chosen)
    return templates.render(source, wanted, bos="<BOS>", eos="<EOS>")


def ids(file: Path) -> str:
    """How ids of calls look to this template; see `history.of`."""
    family = families.of(file.read_text()).family
    return family.ids if family else ""


def said(file: Path, answer: dict[str, Any]) -> str:
    """What a model would have written for an answer of an earlier turn."""
    source = file.read_text()
    markup = families.of(source)
    variables = {"bos_token": "<BOS>", "eos_token": "<EOS>", "add_generation_prompt": False}
    variables |= templates.variables_of(source, templates.Chat(messages=[chats.USER], tools=chats.TOOLS))

    def told(*messages: dict[str, Any]) -> str:
        return templates.compiled(source).render(messages=history.of(messages, source, ids=ids(file)), **variables)

    before, after = told(chats.USER), told(chats.USER, answer)
    opening = rendered(file, [chats.USER]).removeprefix(before)
    if markup.thought:
        opening = opening.partition(markup.thought.open)[0]
    common = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    text = after[common:].removeprefix(opening).removeprefix("<|message_sep|>").strip()
    while end := next((end for end in ENDS if text.endswith(end)), None):
        text = text.removesuffix(end).rstrip()
    return text


def answers(file: Path) -> list[dict[str, Any]]:
    """Answers with one call, and with two where the template takes them in one message."""
    return [chats.ONE_CALL] if history.ONE_CALL.search(file.read_text()) else [chats.ONE_CALL, chats.TWO_CALLS]


def parser_of(markup: families.Markup) -> parsers.Parser:
    """A parser for an answer that the prompt has not begun."""
    made = parsers.make(markup, chats.TOOLS, Begun.NOT)
    assert made is not None
    return made
