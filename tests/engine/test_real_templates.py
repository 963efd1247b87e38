"""The chat templates that llama.cpp's source holds: all of them render, as transformers renders them, and the calls that they write of
earlier turns are what the parsers read."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import chats
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_templates import FILES, READABLE, answers, ids, parser_of, rendered, said

from vllama_agent.chat import families, history, parsers, templates
from vllama_agent.chat.events import Call, Event, Text, Thought
from vllama_agent.environments.layout import Environment

CHATS: dict[str, list[dict[str, Any]]] = {
    "question": [chats.USER],
    "system": [chats.SYSTEM, chats.USER],
    "call": [chats.USER, chats.ONE_CALL, chats.RESULTS[0]],
    "calls": [chats.USER, chats.TWO_CALLS, *chats.RESULTS],
}
REFUSED = {"google-gemma-2-2b-it": {"system", "call", "calls"}}
"""Chats that a template refuses in words of its own: this one knows neither system prompts nor results of tools."""
TRANSFORMERS_FAILS = {
    "Kimi-K2-Instruct": "append",
    "Kimi-K2-Thinking": "append",
    "fireworks-ai-llama-3-firefunction-v2": "functions",
    "llama-cpp-deepseek-r1": "generator",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "concatenate",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "concatenate",
    "deepseek-ai-DeepSeek-V3.1": "concatenate",
    "meetkai-functionary-medium-v3.1": "concatenate",
    "meetkai-functionary-medium-v3.2": "concatenate",
}
"""Templates of which transformers renders less than we do, and why: lists cannot be appended to, `functions` and `datetime` are not
there, `map` makes a generator that is no JSON, and arguments of calls have to be texts where ours are both."""


def test_there_are_seventy() -> None:
    assert len(FILES) == 70


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_renders_every_chat(file: Path) -> None:
    for name, chat in CHATS.items():
        for think in (None, False, "high", "max"):
            if name in REFUSED.get(file.stem, ()):
                with pytest.raises(templates.TemplateError, match="refused"):
                    rendered(file, chat, think=think)
            else:
                assert rendered(file, chat, think=think).strip()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_begun_answer_stands_at_the_end_of_its_prompt(file: Path) -> None:
    assert rendered(file, [chats.USER, {"role": "assistant", "content": "It is"}]).endswith("It is")


THINK = (None, False, "high")
"""As a chat that says nothing of it, one that wants no thought, and one that wants a long one."""


def jobs() -> list[dict[str, Any]]:
    made = []
    for file in FILES:
        source = file.read_text()
        for (name, chat), think in itertools.product(CHATS.items(), THINK):
            messages = history.of(chat, source, ids=ids(file))
            variables = templates.variables_of(source, templates.Chat(messages=chat, tools=chats.TOOLS, think=think))
            # transformers knows neither
            variables = {key: value for key, value in variables.items() if key not in ("functions", "datetime")}
            made.append({"file": file.stem, "chat": name, "think": think, "source": source, "messages": messages, "variables": variables})
    return made


THEIRS = """
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template
made = []
for job in json.load(sys.stdin):
    try:
        [text], _ = render_jinja_template([job["messages"]], chat_template=job["source"], add_generation_prompt=True,
                                          bos_token="<BOS>", eos_token="<EOS>", **job["variables"])
        made.append({"text": text})
    except Exception as error:
        made.append({"error": str(error)})
json.dump(made, sys.stdout)
"""


def test_prompts_are_those_of_transformers(environment: Environment) -> None:
    """Wherever transformers renders a chat, the texts are equal; where it does not, the reason is known."""
    asked = jobs()
    run = subprocess.run(
        [environment.python, "-c", THEIRS], input=json.dumps(asked), capture_output=True, text=True, timeout=80, check=True
    )
    different = []
    for job, theirs in zip(asked, json.loads(run.stdout), strict=True):
        if job["chat"] in REFUSED.get(job["file"], ()):
            continue
        ours = rendered(next(file for file in FILES if file.stem == job["file"]), CHATS[job["chat"]], think=job["think"])
        if "error" in theirs:
            assert TRANSFORMERS_FAILS.get(job["file"], "no failure is known") in theirs["error"], (
                job["file"],
                job["chat"],
                theirs["error"],
            )
        elif theirs["text"] != ours:
            different.append((job["file"], job["chat"], job["think"]))
    assert different == []


def merged(events: list[Event]) -> list[Event]:
    """Neighbours of one kind as one."""
    made: list[Event] = []
    for event in events:
        last = made[-1] if made else None
        match last, event:
            case (Text(a), Text(b)):
                made[-1] = Text(a + b)
            case (Thought(a), Thought(b)):
                made[-1] = Thought(a + b)
            case _:
                made.append(event)
    return made


@pytest.mark.parametrize("file", READABLE, ids=lambda file: file.stem)
def test_the_calls_that_it_writes_are_read(file: Path) -> None:
    """Whole and character by character: the calls are those of the chat, and nothing of their markup is left in the text."""
    markup = families.of(file.read_text())
    for answer in answers(file):
        text = said(file, answer)
        whole = parsers.read(parser_of(markup), text)
        wanted = [Call(call["function"]["name"], call["function"]["arguments"]) for call in answer["tool_calls"]]
        assert whole == wanted, text
        parser = parser_of(markup)
        pieces = [event for character in text for event in parser.feed(character)]
        assert [*pieces, *parser.finish()] == wanted


@settings(max_examples=60)
@given(data=st.data())
def test_however_an_answer_is_cut_it_reads_the_same(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(READABLE))
    markup = families.of(file.read_text())
    text = "Well,\n" + said(file, data.draw(st.sampled_from(answers(file))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    parser = parser_of(markup)
    events = [event for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True) for event in parser.feed(text[begin:end])]
    assert merged([*events, *parser.finish()]) == merged(parsers.read(parser_of(markup), text))
