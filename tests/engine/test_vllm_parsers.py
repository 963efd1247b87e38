"""Our parsers beside vLLM's own, on the texts that the real templates make models write: the same thoughts, words and calls.

Where the two differ, `docs/vllm-parsers.md` says how and why; its table is held to what is found here.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chats
import pytest
import vllms
from real_templates import READABLE, answers, parser_of, said

from vllama_agent.chat import families, parsers
from vllama_agent.chat.events import Call, Text, Thought

SUPPORT = Path(__file__).resolve().parents[1] / "support"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "vllm-parsers.md"
UNCOMPARED = {"harmony", "command"}
"""vLLM reads gpt-oss by a vocabulary, and Command by a package, that are not part of its installation."""
WORDS = "It is sunny: 3 < 5, and [1, 2] is a list."
COMPANIONS = {"deepseek_v3": "deepseek_r1", "deepseek_v4": "deepseek_v4", "kimi_k2": "kimi_k2", "lfm2": "deepseek_r1"}
"""vLLM's parsers of calls that another parser of `<think>` than Qwen's belongs to, which would drop their control tokens."""
THOUGHT = "They ask for Zürich.\nSo I look."


def texts(file: Path) -> Iterator[tuple[str, str]]:
    """(kind, text) of answers in a template's markup."""
    markup = families.of(file.read_text())
    written = [_thoughtless(said(file, answer), markup) for answer in answers(file)]
    yield "one call", written[0]
    if len(written) > 1:
        yield "two calls", written[1]
    yield "words and a call", f"{WORDS}\n{written[0]}"
    yield "words", WORDS
    if markup.thought:
        thought = f"{markup.thought.open}\n{THOUGHT}\n{markup.thought.close}\n\n"
        yield "thought and words", thought + WORDS
        yield "thought and a call", thought + written[0]


def _thoughtless(text: str, markup: families.Markup) -> str:
    """Without the empty thought that some templates write before the call of an earlier turn."""
    if markup.thought is None:
        return text
    return re.sub(rf"\A(?:{re.escape(markup.thought.open)})?\s*{re.escape(markup.thought.close)}\s*", "", text)


def cases() -> list[dict[str, Any]]:
    """Every text that vLLM has a parser for, with the names of its parsers."""
    made = []
    for file in READABLE:
        markup = families.of(file.read_text())
        assert markup.family is not None
        if not markup.family.vllm or markup.family.name in UNCOMPARED:
            continue
        for kind, text in texts(file):
            thoughts = None
            if kind.startswith("thought"):
                thoughts = COMPANIONS.get(markup.family.vllm, markup.thought.vllm if markup.thought else "")
                if not thoughts:
                    continue
            names = {"calls": markup.family.vllm, "thoughts": thoughts}
            made.append({"file": file.stem, "kind": kind, "text": text, "tools": chats.TOOLS, "control": tokens_of(file), **names})
    return made


def tokens_of(file: Path) -> list[str]:
    """Markers that are tokens of the model's: longer ones begin with one of them, and older vocabularies of Mistral's lack [ARGS]."""
    template = file.read_text()
    known = [marker for marker in families.of(template).control() if marker in template or not marker.startswith("[")]
    return [marker for marker in known if not any(other in marker for other in known if other != marker)]


def ours(case: dict[str, Any]) -> dict[str, Any]:
    file = next(file for file in READABLE if file.stem == case["file"])
    events = parsers.read(parser_of(families.of(file.read_text())), case["text"])
    return {
        "thought": "".join(event.text for event in events if isinstance(event, Thought)).strip(),
        "text": "".join(event.text for event in events if isinstance(event, Text)).strip(),
        "calls": [[event.name, event.arguments] for event in events if isinstance(event, Call)],
    }


@pytest.fixture(scope="module")
def compared() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(case, what we read, what vLLM reads)."""
    asked = cases()
    run = subprocess.run(
        [vllms.python(), SUPPORT / "vllm_reader.py"], input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=True
    )
    return [(case, ours(case), theirs) for case, theirs in zip(asked, json.loads(run.stdout), strict=True)]


def test_the_page_says_how_much_is_compared(compared: Any) -> None:
    count, templates, kinds = len(compared), {case["file"] for case, _, _ in compared}, {case["calls"] for case, _, _ in compared}
    assert f"{count} texts of {len(templates)} templates, for {len(kinds)} of vLLM's parsers" in PAGE.read_text()


def test_we_read_what_vllm_reads_but_for_the_differences_that_the_page_explains(compared: Any) -> None:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for case, mine, theirs in compared:
        if mine != theirs:
            parser = case["thoughts"] if case["kind"].startswith("thought") and mine["calls"] == theirs.get("calls") else case["calls"]
            found[parser, case["kind"]].add(case["file"])
    assert dict(found) == explained()


def explained() -> dict[tuple[str, str], set[str]]:
    """The page's table: (vLLM's parser, kind of text) → templates."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {(row[0].strip("`"), row[1]): {name.strip("` ") for name in row[2].split(",")} for row in rows}
