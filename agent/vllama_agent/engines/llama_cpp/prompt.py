"""From a request to the token ids that are run: rendering, tokenising, and cutting what does not fit. Runs in the text helper.

`Text` is what it needs of a model's vocabulary; everything else is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vllama_agent.chat import templates


class PromptError(Exception):
    """The request cannot be turned into a prompt."""


class TooLong(Exception):
    """More tokens than the window holds."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens


class Text(Protocol):
    """A vocabulary and a template."""

    chat_template: str | None
    special_texts: tuple[str, str]
    fill_in_middle: tuple[int, int, int]
    bos: int
    longest_token: int
    """Bytes of the longest token."""

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of UTF-8 text."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens to run; `asked` tokens were asked for, `dropped` of them were cut."""

    tokens: list[int]
    asked: int
    dropped: int


def prepare(text: Text, job: dict[str, Any]) -> Prompt:
    """The prompt of a generate request.

    :param job: fields of `GenerateRequest` by name; `room`: most tokens of the prompt; `window`: tokens of the loaded context, which
        bounds the text that is looked at at all.
    :raises PromptError: the template refused, or the model cannot do it.
    :raises TooLong: it does not fit and `truncate` is false.
    """
    room, keep = job["room"], job["num_keep"]
    if job["messages"] is not None:
        return _chat(text, job, room, keep)
    tokens = [*job["context"], *_plain(text, job)]
    return _fitted(tokens, asked=len(tokens), room=room, keep=keep, truncate=job["truncate"])


def render(text: Text, messages: Sequence[dict[str, Any]], template: str | None) -> str:
    """A chat as prompt text."""
    bos, eos = text.special_texts
    try:
        return templates.render(template or text.chat_template, messages, bos=bos, eos=eos)
    except templates.TemplateError as error:
        raise PromptError(str(error)) from None


def _chat(text: Text, job: dict[str, Any], room: int, keep: int) -> Prompt:
    """Drop the oldest messages until the rest fits; system messages and the last one always stay."""
    messages, context = job["messages"], list(job["context"])

    def tokens_of(some: Sequence[dict[str, Any]]) -> list[int]:
        rendered = render(text, some, job["template"])
        return context + _tokenize(text, rendered, job["window"], add_special=not context)

    if not job["truncate"]:
        tokens = tokens_of(messages)
        return _fitted(tokens, asked=len(tokens), room=room, keep=keep, truncate=False)
    droppable = [i for i, message in enumerate(messages[:-1]) if message["role"] != "system"]

    def without(count: int) -> list[dict[str, Any]]:
        gone = set(droppable[:count])
        return [message for i, message in enumerate(messages) if i not in gone]

    def fits(count: int) -> bool:
        try:
            return len(tokens_of(without(count))) <= room
        except TooLong:
            return False

    try:
        whole = tokens_of(messages)
        asked = len(whole)
        if asked <= room:
            return Prompt(whole, asked, 0)
    except TooLong as error:
        asked = error.tokens
    low, high = 1, len(droppable)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return _fitted(tokens_of(without(low)), asked=asked, room=room, keep=keep, truncate=True)


def _plain(text: Text, job: dict[str, Any]) -> list[int]:
    if job["prompt_tokens"] is not None:
        return list(job["prompt_tokens"])
    window = job["window"]
    if job["suffix"] is None:
        return _tokenize(text, job["prompt"], window, add_special=not job["context"])
    before, after, middle = text.fill_in_middle
    if min(before, after, middle) < 0:
        raise PromptError("the model does not support insert: its vocabulary has no fill-in-the-middle tokens")
    prefix = _tokenize(text, job["prompt"], window, add_special=False)
    suffix = _tokenize(text, job["suffix"], window, add_special=False)
    start = [text.bos] if text.bos >= 0 else []
    return [*start, before, *prefix, after, *suffix, middle]


def _tokenize(text: Text, string: str, window: int, *, add_special: bool) -> list[int]:
    encoded = string.encode("utf-8", "surrogatepass")
    if len(encoded) > window * text.longest_token:
        # certainly too long; tokenising it would only cost time. The count is the least it can have.
        raise TooLong(len(encoded) // text.longest_token)
    bos = text.special_texts[0]
    # a template that writes BOS itself must not get a second one
    add_special = add_special and not (bos and string.startswith(bos))
    return text.tokenize(encoded, add_special=add_special, parse_special=True)


def _fitted(tokens: list[int], *, asked: int, room: int, keep: int, truncate: bool) -> Prompt:
    if not tokens:
        raise PromptError("the prompt has no tokens; give it some text")
    if len(tokens) <= room:
        return Prompt(tokens, asked, asked - len(tokens))
    if not truncate:
        raise TooLong(asked)
    keep = room // 2 if keep < 0 else min(keep, room // 2)
    cut = tokens[:keep] + tokens[len(tokens) - (room - keep) :]
    return Prompt(cut, asked, asked - len(cut))
