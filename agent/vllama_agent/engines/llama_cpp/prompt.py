"""From a request to the token ids that are run: rendering, tokenising, and cutting what does not fit. Runs in the text helper.

`Text` is what it needs of a model's vocabulary; everything else is pure.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vllama_agent.chat import beginnings, families, templates
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup


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
    tool_template: str | None
    """The variant of it for chats with tools, where the model has one."""
    chat_family: str | None
    """The family of `families` that was chosen by hand; None: the one that the template looks like."""
    special_texts: tuple[str, str]
    fill_in_middle: tuple[int, int, int]
    bos: int
    longest_token: int
    """Bytes; no token stands for more of a text."""

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of UTF-8 text."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens to run; `asked` tokens were asked for, `dropped` of them were cut.

    :ivar markup: of a chat: how its answer is written.
    :ivar begun: of a chat: where in the answer the prompt ends.
    """

    tokens: list[int]
    asked: int
    dropped: int
    markup: Markup | None = None
    begun: Begun = Begun.NOT


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


def render(text: Text, job: dict[str, Any], messages: Sequence[dict[str, Any]] | None = None) -> str:
    """A chat as prompt text.

    :param messages: instead of the job's.
    """
    bos, eos = text.special_texts
    family = markup_of(text, job).family
    chat = templates.Chat(
        messages=messages if messages is not None else job["messages"],
        tools=job["tools"],
        think=job["think"],
        ids=family.ids if family else "",
    )
    try:
        return templates.render(template_of(text, job), chat, bos=bos, eos=eos)
    except templates.TemplateError as error:
        raise PromptError(str(error)) from None


def markup_of(text: Text, job: dict[str, Any]) -> Markup:
    """How the answer to a chat is written."""
    return families.of(template_of(text, job), text.chat_family)


def template_of(text: Text, job: dict[str, Any]) -> str | None:
    """The template of a chat: the request's, or the model's for chats of this kind."""
    own = text.tool_template if job["tools"] and text.tool_template else text.chat_template
    return job["template"] or own


def _chat(text: Text, job: dict[str, Any], room: int, keep: int) -> Prompt:
    """Drop the oldest turns until the rest fits; system messages and the last one always stay."""
    messages, context = job["messages"], list(job["context"])
    rendered = ""

    def tokens_of(some: Sequence[dict[str, Any]]) -> list[int]:
        nonlocal rendered
        rendered = render(text, job, some)
        return context + _tokenize(text, rendered, job["window"], add_special=not context)

    def done(made: Prompt) -> Prompt:
        markup = markup_of(text, job) if job["tools"] else markup_of(text, job).without_calls()
        return replace(made, markup=markup, begun=beginnings.begun(messages, rendered, markup))

    def fits(some: Sequence[dict[str, Any]]) -> bool:
        try:
            return len(tokens_of(some)) <= room
        except TooLong:
            return False

    if not job["truncate"]:
        tokens = tokens_of(messages)
        return done(_fitted(tokens, asked=len(tokens), room=room, keep=keep, truncate=False))
    try:
        whole = tokens_of(messages)
        asked = len(whole)
        if asked <= room:
            return done(Prompt(whole, asked, 0))
    except TooLong as error:
        asked = error.tokens
    starts = _turns(messages)
    first = bisect.bisect_left(starts, True, hi=len(starts) - 1, key=lambda start: fits(_from(messages, start)))
    return done(_fitted(tokens_of(_from(messages, starts[first])), asked=asked, room=room, keep=keep, truncate=True))


def _turns(messages: Sequence[dict[str, Any]]) -> list[int]:
    """Where a shorter chat may begin: at any later question, and at the last message. An answer whose question was dropped means little,
    and templates that want questions and answers to alternate refuse it."""
    first = next((i for i, message in enumerate(messages) if message["role"] != "system"), 0)
    last = len(messages) - 1
    return [i for i in range(first + 1, last) if messages[i]["role"] == "user"] + [last]


def _from(messages: Sequence[dict[str, Any]], start: int) -> list[dict[str, Any]]:
    """Without what stands before `start`, system messages aside."""
    return [message for i, message in enumerate(messages) if i >= start or message["role"] == "system"]


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
    return text.tokenize(encoded, add_special=add_special and not begins_with_bos(text, string), parse_special=True)


def begins_with_bos(text: Text, string: str) -> bool:
    """Whether a template wrote BOS itself: then it must not get a second one."""
    bos = text.special_texts[0]
    return bool(bos) and string.startswith(bos)


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
