"""What of a chat or a prompt is run when not all of it fits, on a vocabulary of bytes."""

from __future__ import annotations

from typing import Any

import pytest

from vllama_agent.engines.llama_cpp import prompt
from vllama_agent.engines.llama_cpp.prompt import Prompt, PromptError, TooLong

PLAIN = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
ALTERNATING = (
    "{% for m in messages if m.role != 'system' %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + PLAIN
)
"""As Gemma's, Mistral's and Llama 2's."""


class Bytes:
    """`prompt.Text`: every byte is a token."""

    chat_template: str | None = None
    tool_template: str | None = None
    chat_family: str | None = None
    special_texts = ("", "")
    fill_in_middle = (-1, -1, -1)
    bos = -1
    longest_token = 1

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text)


def turns(*words: str, system: str | None = None) -> list[dict[str, Any]]:
    """Question, answer, question …"""
    roles = ("user", "assistant")
    first = [{"role": "system", "content": system}] if system is not None else []
    return first + [{"role": roles[i % 2], "content": word} for i, word in enumerate(words)]


def prepared(*, room: int, template: str = PLAIN, truncate: bool = True, **fields: Any) -> Prompt:
    job: dict[str, Any] = {
        "window": 1000,
        "num_keep": 4,
        "messages": None,
        "prompt": None,
        "prompt_tokens": None,
        "suffix": None,
        "tools": [],
        "think": None,
        "context": [],
    }
    return prompt.prepare(Bytes(), {**job, "template": template, "room": room, "truncate": truncate, **fields})


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (100, "s:be;u:one;a:two;u:three;a:four;u:five;"),
        (38, "s:be;u:three;a:four;u:five;"),
        (29, "s:be;u:three;a:four;u:five;"),
        (27, "s:be;u:three;a:four;u:five;"),
        (26, "s:be;u:five;"),
        (12, "s:be;u:five;"),
    ],
)
@pytest.mark.parametrize("template", [PLAIN, ALTERNATING], ids=["plain", "alternating"])
def test_a_chat_loses_its_oldest_turns_and_no_system_message(room: int, kept: str, template: str) -> None:
    whole = "s:be;u:one;a:two;u:three;a:four;u:five;"
    made = prepared(messages=turns("one", "two", "three", "four", "five", system="be"), room=room, template=template)
    assert bytes(made.tokens).decode() == kept
    assert (made.asked, made.dropped) == (len(whole), len(whole) - len(kept))


def test_questions_without_answers_go_one_by_one() -> None:
    messages = [{"role": "user", "content": word} for word in ("one", "two", "three")]
    assert bytes(prepared(messages=messages, room=16).tokens) == b"u:two;u:three;"


def test_where_the_last_message_alone_is_too_long_its_middle_goes() -> None:
    made = prepared(messages=turns("one", "two", "0123456789"), room=8)
    assert bytes(made.tokens) == b"u:01789;"
    assert (made.asked, made.dropped) == (len("u:one;a:two;u:0123456789;"), len("u:one;a:two;u:0123456789;") - 8)


@pytest.mark.parametrize("messages", [turns("0123456789"), turns("one", "two", "0123456789")], ids=["one message", "several"])
def test_a_chat_that_may_not_be_cut_is_too_long(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(TooLong):
        prepared(messages=messages, room=8, truncate=False)


def test_a_text_beyond_any_window_is_not_tokenised() -> None:
    with pytest.raises(TooLong) as caught:
        prepared(prompt="x" * 1001, room=8)
    assert caught.value.tokens == 1001


@pytest.mark.parametrize(("keep", "text"), [(0, b"456789"), (2, b"016789"), (9, b"012789"), (-1, b"012789")])
def test_a_prompt_keeps_its_first_tokens_and_its_newest(keep: int, text: bytes) -> None:
    """At most half of the room is kept at the start; -1 is as much as that."""
    assert bytes(prepared(prompt="0123456789", room=6, num_keep=keep).tokens) == text


def test_earlier_tokens_count_as_part_of_the_prompt() -> None:
    made = prepared(prompt="cd", context=[97, 98], room=3, num_keep=1)
    assert bytes(made.tokens) == b"acd"
    assert (made.asked, made.dropped) == (4, 1)


def test_what_has_no_tokens_is_refused() -> None:
    with pytest.raises(PromptError, match="no tokens"):
        prepared(prompt="", room=8)
